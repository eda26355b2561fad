package recovery

import (
	"fmt"
	"strings"
	"time"

	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Heads is what approvals prove about the ledger that the server has shown.
type Heads struct {
	Kept      []*ledger.Approval // that still count, in their order
	Discarded []DiscardedApproval
	Missing   []MissingHead // heads that the ledger lacks
}

// DiscardedApproval is an approval that names a head without a valid signature by
// an owner's device and the server.
type DiscardedApproval struct {
	Approval *ledger.Approval
	Reason   string
}

// MissingHead is a head that the ledger lacks although the server signed it.
type MissingHead struct {
	Member uint64 // whose approval names it
	Head   ledger.Head
	Device uint64    // number of the owner's device that attested it
	Known  bool      // whether the ledger shown has that device
	Time   time.Time // when the server signed it, by its clock
}

// String says it for people.
func (m MissingHead) String() string {
	device := fmt.Sprintf("device %d", m.Device)
	if !m.Known {
		device += ", which the ledger does not even have,"
	}
	return fmt.Sprintf("contact %d was shown entry %d by %s and the server signed it on %s",
		m.Member, m.Head.Sequence, device, m.Time.UTC().Format(time.RFC1123))
}

// MissingHeadError lists the heads that a ledger lacks.
type MissingHeadError struct {
	Shown   ledger.Head // the newest of the ledger
	Missing []MissingHead
}

// Error says how far the ledger goes and what it lacks.
func (e *MissingHeadError) Error() string {
	lines := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		lines[i] = m.String()
	}
	return fmt.Sprintf("%s: it ends with entry %d; %s", ErrMissingHead, e.Shown.Sequence, strings.Join(lines, "; "))
}

// Unwrap returns [ErrMissingHead].
func (e *MissingHeadError) Unwrap() error { return ErrMissingHead }

// CheckHeads says whether the ledger that the server has shown is the whole one,
// as far as the approvals of a request prove it: it must have every head that an
// approval names and that an owner's device and the server signed. The error is a
// [*MissingHeadError] if it has not; the owner may insist on going on, shown the
// gap, with Heads.Kept.
//
// An approval whose head lacks either signature is discarded. A head attested by a
// device that the ledger does not know, and signed by the server that the request
// names, is missing: the server has signed what it does not show. Paper and sheet
// name no head.
func CheckHeads(state *ledger.State, request *ledger.RecoveryRequest, approvals []*ledger.Approval) (Heads, error) {
	var h Heads
	pinned, err := signing.NewPublicKey(request.Message().Server)
	if err != nil {
		return h, err
	}
	for _, a := range approvals {
		missing, reason := checkHead(state, pinned, a)
		if reason != "" {
			h.Discarded = append(h.Discarded, DiscardedApproval{a, reason})
			continue
		}
		h.Kept = append(h.Kept, a)
		if missing != nil {
			h.Missing = append(h.Missing, *missing)
		}
	}
	if len(h.Missing) > 0 {
		return h, &MissingHeadError{Shown: state.Head(), Missing: h.Missing}
	}
	return h, nil
}

// checkHead returns the head that the ledger lacks, or why the approval does not
// count, or neither.
func checkHead(state *ledger.State, pinned *signing.PublicKey, a *ledger.Approval) (*MissingHead, string) {
	head, named := a.Head()
	if !named {
		return nil, ""
	}
	device, server := a.Attestations()
	if device.Account() != state.Account() {
		return nil, "its head is of another account"
	}
	// An account's earlier servers signed earlier heads.
	if server.Verify(pinned) != nil && state.CheckAttestation(server) != nil {
		return nil, "the server did not sign its head"
	}
	number := device.Holder().Number
	_, known := state.Device(number)
	if known && state.CheckAttestation(device) != nil {
		return nil, fmt.Sprintf("device %d did not sign its head", number)
	}
	if !state.Contains(head) {
		return &MissingHead{Member: a.Holder().Number, Head: head, Device: number, Known: known, Time: server.Time()}, ""
	}
	if !known {
		return nil, fmt.Sprintf("its head was signed by device %d, which the account never had", number)
	}
	return nil, ""
}
