package ledger

import (
	"bytes"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// Activity is one parsed entry of an account's activity log: a request exactly
// as it was signed, and the hash of the answer's body. The log is a hash chain
// of the server's; a device that has seen an entry knows when the server hides,
// changes or reorders what came before it.
type Activity struct {
	b       []byte
	hash    Hash
	message *recordv1.Activity
}

// NewActivity returns the entry that follows previous, which is nil for an
// account's first. The time is rounded down to milliseconds.
func NewActivity(account AccountID, previous *Activity, at time.Time, request []byte, answer [32]byte) (*Activity, error) {
	message := &recordv1.Activity{
		Account:    account[:],
		Sequence:   1,
		Time:       uint64(at.UnixMilli()),
		Request:    request,
		AnswerHash: answer[:],
	}
	if previous != nil {
		message.Sequence = previous.message.Sequence + 1
		message.Previous = previous.hash[:]
	}
	b, err := canonical.Marshal(message)
	if err != nil {
		return nil, err
	}
	a, err := ParseActivity(b)
	if err != nil {
		return nil, err
	}
	return a, a.Follows(account, previous)
}

// ParseActivity reads the exact bytes of an Activity, strictly, and returns a
// [*RuleError] or [ErrNewer].
func ParseActivity(b []byte) (*Activity, error) {
	a := &Activity{
		b:       slices.Clone(b),
		hash:    hashOf(signing.NewContext("activity-hash").Bytes(b)),
		message: &recordv1.Activity{},
	}
	if err := read(b, a.message); err != nil {
		return nil, err
	}
	c := checker{where: "activity"}
	c.size("account", a.message.Account, hashSize)
	c.between("sequence", a.message.Sequence, 1, maxTime)
	if a.message.Sequence > 1 {
		c.size("previous", a.message.Previous, hashSize)
	} else {
		c.absent("previous", a.message.Previous)
	}
	c.time("time", a.message.Time)
	c.some("request", a.message.Request)
	c.size("answer_hash", a.message.AnswerHash, hashSize)
	if c.err != nil {
		return nil, c.err
	}
	return a, nil
}

// Follows returns nil if the entry is the account's next one after previous,
// which is nil before the first, and a [*RuleError] of [RuleActivity] if not.
func (a *Activity) Follows(account AccountID, previous *Activity) error {
	sequence, hash := uint64(1), []byte(nil)
	if previous != nil {
		sequence, hash = previous.message.Sequence+1, previous.hash[:]
	}
	switch {
	case !bytes.Equal(a.message.Account, account[:]):
		return refuse(RuleActivity, "entry %d belongs to another account", a.message.Sequence)
	case a.message.Sequence != sequence:
		return refuse(RuleActivity, "entry %d stands where %d is next", a.message.Sequence, sequence)
	case !bytes.Equal(a.message.Previous, hash):
		return refuse(RuleActivity, "entry %d follows another entry %d", sequence, sequence-1)
	case previous != nil && a.message.Time < previous.message.Time:
		return refuse(RuleActivity, "entry %d is earlier than the one before", sequence)
	}
	return nil
}

// Bytes returns the exact bytes. Do not change them.
func (a *Activity) Bytes() []byte { return a.b }

// Hash returns the entry's hash, which the next entry names.
func (a *Activity) Hash() Hash { return a.hash }

// Sequence returns the entry's number, from 1.
func (a *Activity) Sequence() uint64 { return a.message.Sequence }

// Account returns whose log the entry stands in.
func (a *Activity) Account() AccountID { return AccountID(a.message.Account) }

// Time returns when the server answered.
func (a *Activity) Time() time.Time { return timeOf(a.message.Time) }

// Request returns the exact bytes of the SignedRequest.
func (a *Activity) Request() []byte { return a.message.Request }

// AnswerHash returns the SHA-256 of the answer's body.
func (a *Activity) AnswerHash() [32]byte { return [32]byte(a.message.AnswerHash) }
