package ledger

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

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

// ActivityEnd is where an activity log ends. The zero ActivityEnd is before the first
// entry.
type ActivityEnd struct {
	Sequence uint64
	Hash     Hash
	time     uint64
}

// Time returns when the server answered what the newest entry is about.
func (e ActivityEnd) Time() time.Time { return timeOf(e.time) }

// NewActivity returns the entry that follows the end of an account's log. The time is
// rounded down to milliseconds.
func NewActivity(account AccountID, end ActivityEnd, at time.Time, request []byte, answer [32]byte) (*Activity, error) {
	message := &recordv1.Activity{
		Account:    account[:],
		Sequence:   end.Sequence + 1,
		Time:       uint64(at.UnixMilli()),
		Request:    request,
		AnswerHash: answer[:],
	}
	if end.Sequence > 0 {
		message.Previous = end.Hash[:]
	}
	b, err := canonical.Marshal(message)
	if err != nil {
		return nil, err
	}
	if err := checkActivity(message); err != nil {
		return nil, err
	}
	a := &Activity{b: b, hash: activityHash(b), message: message}
	return a, a.follows(account, end)
}

// ParseActivity reads the exact bytes of an Activity, strictly, and returns a
// [*RuleError] or [ErrNewer].
func ParseActivity(b []byte) (*Activity, error) {
	a := &Activity{b: slices.Clone(b), hash: activityHash(b), message: &recordv1.Activity{}}
	if err := read(b, a.message); err != nil {
		return nil, err
	}
	if err := checkActivity(a.message); err != nil {
		return nil, err
	}
	return a, nil
}

func activityHash(b []byte) Hash { return hashOf(signing.NewContext("activity-hash").Bytes(b)) }

func checkActivity(message *recordv1.Activity) error {
	c := checker{where: "activity"}
	c.size("account", message.Account, hashSize)
	c.between("sequence", message.Sequence, 1, maxTime)
	if message.Sequence > 1 {
		c.size("previous", message.Previous, hashSize)
	} else {
		c.absent("previous", message.Previous)
	}
	c.time("time", message.Time)
	c.some("request", message.Request)
	c.size("answer_hash", message.AnswerHash, hashSize)
	return c.err
}

// ParseActivityEnd reads as much of the exact bytes of an Activity as the entry after
// it needs. It is for who has parsed them before and kept them: of others it takes
// some that [ParseActivity] does not.
func ParseActivityEnd(b []byte) (ActivityEnd, error) {
	end := ActivityEnd{Hash: activityHash(b)}
	for rest := b; len(rest) > 0; {
		number, wireType, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return ActivityEnd{}, refuse(RuleEncoding, "the activity ends too early")
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(number, wireType, rest); n < 0 {
			return ActivityEnd{}, refuse(RuleEncoding, "the activity ends too early")
		}
		if wireType == protowire.VarintType {
			switch value, _ := protowire.ConsumeVarint(rest); number {
			case activitySequence:
				end.Sequence = value
			case activityTime:
				end.time = value
			}
		}
		rest = rest[n:]
	}
	c := checker{where: "activity"}
	c.between("sequence", end.Sequence, 1, maxTime)
	c.time("time", end.time)
	if c.err != nil {
		return ActivityEnd{}, c.err
	}
	return end, nil
}

// Numbers of fields of an Activity.
const (
	activitySequence = 2
	activityTime     = 4
)

// End returns where a log ends that ends with the entry; nil is before the first.
func (a *Activity) End() ActivityEnd {
	if a == nil {
		return ActivityEnd{}
	}
	return ActivityEnd{Sequence: a.message.Sequence, Hash: a.hash, time: a.message.Time}
}

// Follows returns nil if the entry is the account's next one after previous,
// which is nil before the first, and a [*RuleError] of [RuleActivity] if not.
func (a *Activity) Follows(account AccountID, previous *Activity) error {
	return a.follows(account, previous.End())
}

func (a *Activity) follows(account AccountID, end ActivityEnd) error {
	sequence, hash := end.Sequence+1, []byte(nil)
	if end.Sequence > 0 {
		hash = end.Hash[:]
	}
	switch {
	case !bytes.Equal(a.message.Account, account[:]):
		return refuse(RuleActivity, "entry %d belongs to another account", a.message.Sequence)
	case a.message.Sequence != sequence:
		return refuse(RuleActivity, "entry %d stands where %d is next", a.message.Sequence, sequence)
	case !bytes.Equal(a.message.Previous, hash):
		return refuse(RuleActivity, "entry %d follows another entry %d", sequence, sequence-1)
	case a.message.Time < end.time:
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
