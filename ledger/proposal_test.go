package ledger

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// proposed is a draft as its author proposes it, and as others endorse it.
func proposed(t *testing.T, d *draft) *Proposal {
	t.Helper()
	b, err := marshal(d.proposal)
	must(t, err)
	p, err := ParseProposal(b, d.records)
	must(t, err)
	return p
}

func (d *draft) endorsements() []*recordv1.Endorsement {
	var all []*recordv1.Endorsement
	for _, e := range d.endorsers {
		c := ProposalContext(d.w.state.Account(), d.proposal, d.author, d.records, e.role, e.device)
		all = append(all, &recordv1.Endorsement{Role: e.role, Device: e.device, Signature: e.key.Sign(c)})
	}
	return all
}

// TestEndorsed: whenever it says that others have done enough, the entry stands,
// with the author's own confirm key if it is alone; and if not, it does not.
func TestEndorsed(t *testing.T) {
	const device, confirm, fresh = recordv1.Endorsement_ROLE_DEVICE, recordv1.Endorsement_ROLE_CONFIRM, recordv1.Endorsement_ROLE_NEW_DEVICE
	type who struct {
		role   recordv1.Endorsement_Role
		device uint64
	}
	deleted := func(w *world) proto.Message { return &recordv1.SlotDeleted{Slot: idOf(w.slots["a"])} }
	added := func(w *world) proto.Message { return w.deviceAdded() }
	for _, c := range []struct {
		name, history string
		record        func(*world) proto.Message
		by            []who
		want          bool
	}{
		{"alone", "G E P:a", deleted, nil, true},
		{"alone, but not to add a device", "G E", added, nil, false},
		{"alone, and the new device", "G E", added, []who{{fresh, 2}}, true},
		{"nobody", "G E P:a D", deleted, nil, false},
		{"another", "G E P:a D", deleted, []who{{device, 2}}, true},
		{"the author", "G E P:a D", deleted, []who{{device, 1}}, false},
		{"the author's confirm key", "G E P:a D", deleted, []who{{confirm, 1}}, false},
		{"another's confirm key", "G E P:a D", deleted, []who{{confirm, 2}}, false},
		{"a locked device", "G E P:a D D L3", deleted, []who{{device, 3}}, false},
		{"a locked device too many", "G E P:a D D L3", deleted, []who{{device, 2}, {device, 3}}, false},
		{"a new device where none is added", "G E P:a D", deleted, []who{{device, 2}, {fresh, 3}}, false},
		{"the subject", "G E D D", func(w *world) proto.Message { return w.deviceRevoked(2) }, []who{{device, 2}}, false},
		{"one who is no subject", "G E D D", func(w *world) proto.Message { return w.deviceRevoked(2) }, []who{{device, 3}}, true},
		{"all but one device", "G E D D", added, []who{{device, 2}, {fresh, 4}}, false},
		{"all but the new device", "G E D D", added, []who{{device, 2}, {device, 3}}, false},
		{"all devices", "G E D D", added, []who{{device, 2}, {device, 3}, {fresh, 4}}, true},
		{"all that are active", "G E D D L2", added, []who{{device, 3}, {fresh, 4}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := play(t, c.history)
			d := w.draft(c.record(w))
			d.endorsers = nil
			for _, e := range c.by {
				if w.devices[e.device] == nil {
					w.devices[e.device] = w.keys()
				}
				key := w.devices[e.device].sign
				if e.role == confirm {
					key = w.devices[e.device].confirm
				}
				d.endorse(e.role, e.device, key)
			}
			p := proposed(t, d)
			must(t, w.state.CheckProposal(p, 1, w.now))
			if got := w.state.Endorsed(1, p.Records(), d.endorsements()); got != c.want {
				t.Fatalf("got %v", got)
			}
			if w.state.isAlone(1) {
				d.endorse(confirm, 1, w.devices[1].confirm)
			}
			if len(d.endorsers) == 0 {
				d.proposal = nil
			}
			if err := w.apply(d); (err == nil) != c.want {
				t.Errorf("the entry: %v", err)
			}
		})
	}
}

func idOf(id SlotID) []byte { return id[:] }

// TestCheckProposal refuses early what the fold would refuse in the end, and
// leaves the state as it is.
func TestCheckProposal(t *testing.T) {
	w := play(t, "G E P:a D D L3")
	good := func() *draft { return w.draft(&recordv1.SlotDeleted{Slot: idOf(w.slots["a"])}) }
	for _, c := range []struct {
		name   string
		rule   Rule
		author uint64
		after  time.Duration
		spoil  func(d *draft)
	}{
		{"as it should be", "", 1, 0, func(*draft) {}},
		{"by another", "", 2, 0, func(*draft) {}},
		{"by a locked device", RuleAuthor, 3, 0, func(*draft) {}},
		{"by nobody", RuleAuthor, 9, 0, func(*draft) {}},
		{"another base", RuleProposalBase, 1, 0, func(d *draft) { d.proposal.BaseHash = w.bytes(hashSize) }},
		{"a base to come", RuleProposalBase, 1, 0, func(d *draft) { d.proposal.BaseSequence = 99 }},
		{"an old base", RuleProposalStale, 1, 0, func(d *draft) {
			d.proposal.BaseSequence, d.proposal.BaseHash = 1, w.state.hashes[0][:]
		}},
		{"expired", RuleProposalExpiry, 1, 2 * time.Hour, func(*draft) {}},
		{"nothing to endorse", RuleShape, 1, 0, func(d *draft) {
			d.records = [][]byte{recordOf(t, &recordv1.DeviceLocked{Device: 2})}
		}},
		{"a slot that is not there", RuleSlot, 1, 0, func(d *draft) {
			d.records = [][]byte{recordOf(t, &recordv1.SlotDeleted{Slot: w.bytes(idSize)})}
		}},
		{"one of two that cannot be", RuleSlotDeleted, 1, 0, func(d *draft) { d.records = append(d.records, d.records[0]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := good()
			c.spoil(d)
			before := w.state.Clone()
			err := w.state.CheckProposal(proposed(t, d), c.author, w.now.Add(c.after))
			if c.rule == "" && err != nil || c.rule != "" && !errors.Is(err, &RuleError{Rule: c.rule}) {
				t.Errorf("got %v, want rule %q", err, c.rule)
			}
			if !equalStates(before, w.state) {
				t.Error("asking changed the state")
			}
		})
	}
}

func recordOf(t *testing.T, kind proto.Message) []byte {
	b, err := NewRecord(kind)
	must(t, err)
	return b
}

// TestParseProposal: what is no proposal without endorsements is refused.
func TestParseProposal(t *testing.T) {
	w := play(t, "G E P:a D")
	d := w.draft(&recordv1.SlotDeleted{Slot: idOf(w.slots["a"])})
	for name, spoil := range map[string]func(p *recordv1.Proposal) [][]byte{
		"no records":        func(*recordv1.Proposal) [][]byte { return nil },
		"a record of bytes": func(*recordv1.Proposal) [][]byte { return [][]byte{[]byte("record")} },
		"genesis":           func(*recordv1.Proposal) [][]byte { return [][]byte{w.entries[0].message.Records[0]} },
		"an endorsement": func(p *recordv1.Proposal) [][]byte {
			p.Endorsements = d.endorsements()
			return d.records
		},
		"no nonce": func(p *recordv1.Proposal) [][]byte { p.Nonce = nil; return d.records },
		"no base":  func(p *recordv1.Proposal) [][]byte { p.BaseHash = nil; return d.records },
		"max":      func(p *recordv1.Proposal) [][]byte { p.Expiry = 1 << 63; return d.records },
	} {
		m := proto.CloneOf(d.proposal)
		records := spoil(m)
		b, err := marshal(m)
		must(t, err)
		p, err := ParseProposal(b, records)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		checkRefusal(t, p == nil, err)
	}
}

// TestCheckEndorsement: an endorsement counts for one proposal, in one role.
func TestCheckEndorsement(t *testing.T) {
	w := play(t, "G E P:a P:b D")
	d := w.draft(&recordv1.SlotDeleted{Slot: idOf(w.slots["a"])})
	other := w.draft(&recordv1.SlotDeleted{Slot: idOf(w.slots["b"])})
	p := proposed(t, d)
	good := d.endorsements()[0]
	must(t, w.state.CheckEndorsement(p, 1, good))
	wrongRole := proto.CloneOf(good)
	wrongRole.Role = recordv1.Endorsement_ROLE_NEW_DEVICE
	short := proto.CloneOf(good)
	short.Signature = short.Signature[1:]
	for name, c := range map[string]struct {
		author      uint64
		endorsement *recordv1.Endorsement
		rule        Rule
	}{
		"another proposal's": {1, other.endorsements()[0], RuleEndorsement},
		"the author's":       {2, good, RuleEndorsement},
		"another role's":     {1, wrongRole, RuleEndorsement},
		"half a signature":   {1, short, RuleField},
	} {
		if err := w.state.CheckEndorsement(p, c.author, c.endorsement); !errors.Is(err, &RuleError{Rule: c.rule}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
