package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// recordVersion is the version of every record that this program knows.
const recordVersion = 1

// Entry is one parsed transaction of a ledger. It keeps its exact bytes. It is
// safe for concurrent use.
type Entry struct {
	signed    []byte // exact bytes of the SignedEntry
	hash      Hash
	body      []byte // exact bytes of the Entry, which the author signs
	signature []byte
	message   *recordv1.Entry
	records   []*recordv1.Record
	recovered *recovered // parsed out of a Recovered record; nil in other entries
}

// ParseEntry reads the exact bytes of a SignedEntry: strictly, with every key
// and length checked. Signatures need the ledger's state and are checked by
// [State.Apply]. It returns a [*RuleError] for bytes that are no entry, and
// [ErrNewer] for an entry that only a newer program can judge. The Entry does
// not alias the bytes.
func ParseEntry(signed []byte) (*Entry, error) {
	e, err := parseEntry(signed, false)
	if err != nil {
		return nil, err
	}
	e.signed = slices.Clone(signed)
	return e, nil
}

// parseEntry is ParseEntry of an Entry that aliases the bytes. Where they are known to
// be those of an entry, it does not ask again whether keys are points.
func parseEntry(signed []byte, known bool) (*Entry, error) {
	if len(signed) > MaxEntrySize {
		return nil, refuse(RuleSize, "an entry of %d bytes, more than %d", len(signed), MaxEntrySize)
	}
	outer := &recordv1.SignedEntry{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	e := &Entry{
		signed:    signed,
		hash:      entryHash(signed),
		body:      outer.Entry,
		signature: outer.Signature,
		message:   &recordv1.Entry{},
	}
	if err := read(outer.Entry, e.message); err != nil {
		return nil, err
	}
	for i, b := range e.message.Records {
		record, err := parseRecord(b)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, err)
		}
		e.records = append(e.records, record)
	}
	if err := e.check(known); err != nil {
		return nil, err
	}
	return e, nil
}

func entryHash(signed []byte) Hash { return hashOf(signing.NewContext("entry-hash").Bytes(signed)) }

// parseRecord reads the exact bytes of a Record. It looks for version, suite and
// kind first, because a record of another version may break every rule of this
// one's encoding.
func parseRecord(b []byte) (*recordv1.Record, error) {
	kinds := (&recordv1.Record{}).ProtoReflect().Descriptor().Fields()
	var version, suite uint64
	for rest := b; len(rest) > 0; {
		number, wireType, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, refuse(RuleEncoding, "the record ends too early")
		}
		rest = rest[n:]
		if number == 1 || number == 2 {
			value, n := protowire.ConsumeVarint(rest)
			if wireType != protowire.VarintType || n < 0 {
				return nil, refuse(RuleEncoding, "the record has no version and suite")
			}
			if number == 1 {
				version = value
			} else {
				suite = value
			}
		} else if kinds.ByNumber(number) == nil {
			return nil, fmt.Errorf("ledger: a record of unknown kind %d: %w", number, ErrNewer)
		}
		n = protowire.ConsumeFieldValue(number, wireType, rest)
		if n < 0 {
			return nil, refuse(RuleEncoding, "the record ends too early")
		}
		rest = rest[n:]
	}
	if version != recordVersion || suite != signing.Suite {
		return nil, fmt.Errorf("ledger: a record of version %d and suite %d: %w", version, suite, ErrNewer)
	}
	record := &recordv1.Record{}
	if err := read(b, record); err != nil {
		return nil, err
	}
	if record.Kind == nil {
		return nil, refuse(RuleShape, "a record of no kind")
	}
	return record, nil
}

// read is [canonical.Unmarshal] with this package's errors.
func read(b []byte, m proto.Message) error {
	err := canonical.Unmarshal(b, m)
	if err == nil {
		return nil
	}
	if errors.Is(err, canonical.ErrUnknownField) {
		return fmt.Errorf("ledger: %w: %w", ErrNewer, err)
	}
	return &RuleError{Rule: RuleEncoding, Detail: err.Error()}
}

// Bytes returns the exact bytes of the SignedEntry. Do not change them.
func (e *Entry) Bytes() []byte { return e.signed }

// Hash returns the entry's hash, which the next entry names.
func (e *Entry) Hash() Hash { return e.hash }

// Head returns the head of a ledger that ends with the entry.
func (e *Entry) Head() Head { return Head{Sequence: e.message.Sequence, Hash: e.hash} }

// Account returns the account that the entry names. Genesis names none, because
// it makes one: of Genesis Account returns the id that it makes, and false.
func (e *Entry) Account() (AccountID, bool) {
	if len(e.message.Account) == 0 {
		return AccountID(e.hash), false
	}
	return AccountID(e.message.Account), true
}

// Sequence returns the entry's number. Genesis is 1.
func (e *Entry) Sequence() uint64 { return e.message.Sequence }

// Previous returns the hash of the entry before, all zero in Genesis.
func (e *Entry) Previous() Hash {
	var h Hash
	copy(h[:], e.message.Previous)
	return h
}

// Time returns the entry's time, in UTC and to the millisecond.
func (e *Entry) Time() time.Time { return timeOf(e.message.Time) }

// Author returns the number of the device that appends the entry.
func (e *Entry) Author() uint64 { return e.message.Author }

// Records returns the entry's records in their order.
func (e *Entry) Records() []*recordv1.Record { return e.records }

// Proposal returns the co-signatures, or nil.
func (e *Entry) Proposal() *recordv1.Proposal { return e.message.Proposal }

// Signature context of the author.
func (e *Entry) context() *signing.Context { return entryContext(e.body) }

func entryContext(body []byte) *signing.Context { return signing.NewContext("entry").Bytes(body) }

// NewRecord returns the canonical bytes of a Record around one kind, for
// instance a *recordv1.SlotPut. It fails for a message that is no kind of
// record or has no canonical form.
func NewRecord(kind proto.Message) ([]byte, error) {
	record := &recordv1.Record{Version: recordVersion, Suite: signing.Suite}
	r := record.ProtoReflect()
	members := r.Descriptor().Oneofs().ByName("kind").Fields()
	for i := range members.Len() {
		if fd := members.Get(i); fd.Message().FullName() == kind.ProtoReflect().Descriptor().FullName() {
			r.Set(fd, protoreflect.ValueOfMessage(kind.ProtoReflect()))
			b, err := canonical.Marshal(record)
			if err != nil {
				return nil, fmt.Errorf("ledger: new record: %w", err)
			}
			return b, nil
		}
	}
	return nil, fmt.Errorf("ledger: %s is no kind of record", kind.ProtoReflect().Descriptor().FullName())
}

// ParseRecord reads the exact bytes of a Record and checks its keys and lengths,
// for a device that is asked to co-sign a proposal. Errors are those of
// [ParseEntry].
func ParseRecord(b []byte) (*recordv1.Record, error) {
	record, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	if _, err := checkRecord(record, false); err != nil {
		return nil, err
	}
	return record, nil
}

// Draft is an entry before it is signed.
type Draft struct {
	Account  *AccountID // nil for Genesis
	Previous Head       // zero for Genesis
	Time     time.Time  // rounded down to milliseconds
	Author   uint64     // number of the device that signs
	Records  [][]byte   // from NewRecord
	Proposal *recordv1.Proposal
}

// Sign returns the entry, signed with the author's sign key. It brings the
// proposal's endorsements into their order. It does not ask whether the entry
// may follow any state.
func (d Draft) Sign(key signing.Signer) (*Entry, error) {
	message := &recordv1.Entry{
		Sequence: d.Previous.Sequence + 1,
		Time:     uint64(d.Time.UnixMilli()),
		Author:   d.Author,
		Records:  d.Records,
	}
	if d.Account != nil {
		message.Account = d.Account[:]
		message.Previous = d.Previous.Hash[:]
	}
	if d.Proposal != nil {
		message.Proposal = proto.CloneOf(d.Proposal)
		slices.SortStableFunc(message.Proposal.Endorsements, compareEndorsements)
	}
	body, err := canonical.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("ledger: sign an entry: %w", err)
	}
	signature, err := key.SignContext(entryContext(body))
	if err != nil {
		return nil, fmt.Errorf("ledger: sign an entry: %w", err)
	}
	signed, err := canonical.Marshal(&recordv1.SignedEntry{Entry: body, Signature: signature})
	if err != nil {
		return nil, fmt.Errorf("ledger: sign an entry: %w", err)
	}
	return ParseEntry(signed)
}

func compareEndorsements(a, b *recordv1.Endorsement) int {
	return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Device, b.Device))
}

// ProposalContext returns what one co-signer of a proposal signs: who will append
// the entry, the records that it will have, the head they were made for, and in
// which role. What was endorsed for one author is no other's to use.
func ProposalContext(account AccountID, p *recordv1.Proposal, author uint64, records [][]byte, role recordv1.Endorsement_Role, device uint64) *signing.Context {
	c := signing.NewContext("proposal").
		Bytes(account[:]).
		Bytes(p.GetNonce()).
		Uint(p.GetBaseSequence()).
		Bytes(p.GetBaseHash()).
		Uint(p.GetExpiry()).
		Uint(author).
		Count(len(records))
	for _, record := range records {
		c.Bytes(record)
	}
	return c.Uint(uint64(role)).Uint(device)
}
