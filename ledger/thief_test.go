package ledger

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// These tests give a party that has turned bad all the keys that it has, and
// more than it ought to have, and look at what the ledger lets it do.

// TestThiefOfOneDevice has device 2's keys, its confirm key included. Device 1
// is still the owner's.
func TestThiefOfOneDevice(t *testing.T) {
	const start = recoverable + "D P:a @2 "
	for _, step := range []struct {
		name string
		make func(w *world) []proto.Message
	}{
		{"adds a device", addDevice},
		{"revokes the owner's device", func(w *world) []proto.Message { return list(w.deviceRevoked(1)) }},
		{"changes a secret", func(w *world) []proto.Message { return w.slotPuts("a") }},
		{"deletes a secret", func(w *world) []proto.Message { return w.kinds("W:a") }},
		{"prepares an epoch of its own", func(w *world) []proto.Message { return list(w.epochPrepared(usual)) }},
		{"weakens the policy", func(w *world) []proto.Message { return w.kinds("Y:1000") }},
		{"moves to another server", func(w *world) []proto.Message {
			m, _ := w.serverKeyChanged()
			return list(m)
		}},
		{"hides a deletion behind a new secret", func(w *world) []proto.Message { return append(w.slotPuts("b"), w.kinds("W:a")...) }},
	} {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			for _, endorse := range []struct {
				name string
				rule Rule
				f    func(w *world, d *draft)
			}{
				{"alone", RuleSecondFactor, func(w *world, d *draft) { d.proposal = nil }},
				{"with its confirm key", RuleSecondFactor, func(w *world, d *draft) {
					d.endorse(recordv1.Endorsement_ROLE_CONFIRM, 2, w.devices[2].confirm)
				}},
				{"in the owner's name", RuleEndorsement, func(w *world, d *draft) {
					d.endorse(recordv1.Endorsement_ROLE_DEVICE, 1, w.devices[2].sign)
				}},
				{"in its own name", RuleEndorsement, func(w *world, d *draft) {
					d.endorse(recordv1.Endorsement_ROLE_DEVICE, 2, w.devices[2].sign)
				}},
				{"by a device of its invention", RuleEndorsement, func(w *world, d *draft) {
					d.endorse(recordv1.Endorsement_ROLE_DEVICE, 3, w.signKey())
				}},
			} {
				w := play(t, start)
				d := w.draft(step.make(w)...)
				d.endorsers = nil
				endorse.f(w, d)
				if err := w.apply(d); !errors.Is(err, &RuleError{Rule: endorse.rule}) {
					t.Errorf("%s: %v", endorse.name, err)
				}
			}
		})
	}
}

// TestThiefLocksTheOwnerOut: locks need no second factor, so that the owner can
// lock a stolen device at once. A thief who is faster gets nothing by it for the
// waiting period, in which the owner's contacts can bring everything back.
func TestThiefLocksTheOwnerOut(t *testing.T) {
	w := play(t, recoverable+`D D P:a
		@2 L1 L3
		X1!confirm-wait W:a!confirm-wait D!confirm-wait Y:1000!confirm-wait E!confirm-wait
		+71h X1!confirm-wait
		Q:r/23`)
	if d, _ := w.state.Device(2); d.Status != Revoked {
		t.Error("the recovery left the thief's device")
	}
	history(w, "@2 P:b!author L4!author V:s!author @4 P:a")

	// A new lock starts the period anew.
	play(t, recoverable+"D D @2 L1 +72h L3 X1!confirm-wait +71h X1!confirm-wait +1h X1")
	// The owner is faster.
	play(t, recoverable+"D D L2 @2 L1!author P:a!author @3 P:a")
}

// TestThiefVetoes: each device has one veto of a request, and approvals that
// name it go on.
func TestThiefVetoes(t *testing.T) {
	w := play(t, recoverable+"D P:a @2 V:r V:r!veto-twice")
	stale := w.approval(w.request("r"), member(1))
	stale.Vetoes = nil
	a, err := ParseApproval(w.signApproval(stale))
	must(t, err)
	if err := w.state.CheckApproval(a, w.request("r").request, w.now); !errors.Is(err, &RuleError{Rule: RuleVetoes}) {
		t.Errorf("an approval from before the veto: %v", err)
	}
	history(w, "Q:r/12 @2 V:s!author")
}

// TestThiefWithTrickedSecondFactor has an endorsement from the owner for a new
// epoch with a contact of the thief's. The waiting period still stands between.
func TestThiefWithTrickedSecondFactor(t *testing.T) {
	play(t, recoverable+"D @2 E:1of1 B1=eve R1 RS C!weakening +71h59m C!weakening Q:r/12")
	play(t, recoverable+"D @2 E:2of3 B1 B2 B3=eve R1 R2 RS C!weakening")
	play(t, recoverable+"D @2 E:1of1+sheet~1s B1 R1 RH RS C!weakening")
	// A member that is left over in the committed epoch does not count at once.
	play(t, "G E B1 B2 R1 R2 RS C D @2 B3=eve R3 Q:r/13!approval +71h Q:r/13!approval")
	// Nor does it count for the next epoch.
	play(t, "G E B1 B2 R1 R2 RS C D @2 B3=eve E B1 B2=eve R1 R2 RS C!weakening")
}

// TestThiefReplaysCosignatures has everything that the owner ever endorsed.
func TestThiefReplaysCosignatures(t *testing.T) {
	w := play(t, "G E D P:a P:a")
	old := w.entries[len(w.entries)-1]
	w.author = 2
	replay := func(rule Rule, d *draft) {
		t.Helper()
		d.proposal = proto.CloneOf(old.Proposal())
		d.endorsers = nil
		if err := w.apply(d); !errors.Is(err, &RuleError{Rule: rule}) {
			t.Errorf("refused by %v, not by %s", err, rule)
		}
	}
	again := w.draft(w.slotPuts("b")...)
	again.records = old.message.Records
	replay(RuleProposalNonce, again)
	replay(RuleProposalNonce, w.draft(w.kinds("W:a")...))

	// An endorsement that the owner gave and nobody used lasts until it expires,
	// or until what it was for has changed.
	unused := w.draft(w.kinds("W:a")...)
	unused.time = w.now.Add(time.Hour + time.Millisecond)
	if err := w.apply(unused); !errors.Is(err, &RuleError{Rule: RuleProposalExpiry}) {
		t.Errorf("an expired endorsement: %v", err)
	}
	unused = w.draft(w.kinds("W:a")...)
	history(w, "@1 P:b @2")
	unused.previous = w.state.Head()
	must(t, w.apply(unused))
}

// TestServerAlone has the server's keys and every byte that ever passed it: all
// entries, requests and approvals. It can forge nobody's signature, so all that
// is left to it is to give other entries another place.
func TestServerAlone(t *testing.T) {
	w := play(t, recoverable+"D P:a P:b P:a W:b Y:5 L2 V:s Q:r/12 P:a")
	other := newWorld(t, 2)
	history(other, recoverable+"D P:a")
	for n := range w.entries {
		s, err := Fold(w.entries[:n]...)
		must(t, err)
		for m, e := range append(w.entries, other.entries...) {
			if m == n || n == 0 && e.Sequence() == 1 {
				continue
			}
			if err := s.Apply(e); err == nil {
				t.Errorf("entry %d stands at %d", m+1, n+1)
			}
		}
	}
	// Its own entries and its own recovery.
	w = play(t, recoverable+"P:a")
	for _, d := range []*draft{w.draft(w.slotPuts("b")...), w.draft(w.kinds("L2")...), w.draft(w.deviceAdded())} {
		d.key = w.server.sign
		if err := w.apply(d); !errors.Is(err, &RuleError{Rule: RuleSignature}) {
			t.Errorf("an entry of the server's: %v", err)
		}
	}
	root := w.epochs[1].root
	w.epochs[1].root = w.server.sign
	if err := w.apply(w.recovered(w.statement(w.request("r"), member(1), member(2)))); !errors.Is(err, &RuleError{Rule: RuleRootSignature}) {
		t.Errorf("a recovery with tricked contacts and no device share: %v", err)
	}
	w.epochs[1].root = root
	must(t, w.apply(w.recovered(w.statement(w.request("r"), member(1), member(2)))))
}

// TestContactsAlone have a quorum of shares, which make neither a root key nor
// an entry.
func TestContactsAlone(t *testing.T) {
	w := play(t, recoverable+"P:a")
	w.epochs[1].root = w.epochs[1].shares[0]
	if err := w.apply(w.recovered(w.statement(w.request("r"), member(1), member(2), member(3)))); !errors.Is(err, &RuleError{Rule: RuleRootSignature}) {
		t.Errorf("a recovery by a quorum alone: %v", err)
	}
}
