package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// RecoveryRequest is what a new device asks with for an account. It proves that
// the device has the sign key that it names, and nothing more.
type RecoveryRequest struct {
	newcomer
	message *recordv1.RecoveryRequest
}

const recoveryRequestKind = "recovery-request"

// NewRecoveryRequest returns the exact bytes of a SignedRecoveryRequest, signed
// with the new device's sign key, which the request names.
func NewRecoveryRequest(r *recordv1.RecoveryRequest, key signing.Signer) ([]byte, error) {
	body, signature, err := signNewcomer(recoveryRequestKind, r, key)
	if err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(&recordv1.SignedRecoveryRequest{Request: body, Signature: signature})
	if err != nil {
		return nil, err
	}
	if _, err := ParseRecoveryRequest(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseRecoveryRequest reads the exact bytes of a SignedRecoveryRequest,
// strictly, and checks its signature. It returns a [*RuleError] or [ErrNewer].
func ParseRecoveryRequest(signed []byte) (*RecoveryRequest, error) {
	outer, m := &recordv1.SignedRecoveryRequest{}, &recordv1.RecoveryRequest{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	if err := read(outer.Request, m); err != nil {
		return nil, err
	}
	n, err := parseNewcomer(recoveryRequestKind, RuleRequest, signed, outer, m)
	if err != nil {
		return nil, err
	}
	return &RecoveryRequest{n, m}, nil
}

// Message returns the request's fields.
func (r *RecoveryRequest) Message() *recordv1.RecoveryRequest { return r.message }

// Approval is what one contact, or the sheet, states about a request.
type Approval struct {
	signed    []byte
	body      []byte
	signature []byte
	message   *recordv1.Approval
	device    *Attestation // of the head that it names, nil if it names none
	server    *Attestation
}

// NewApproval returns the exact bytes of a SignedApproval, signed with the
// member's share key or the sheet's approval key.
func NewApproval(a *recordv1.Approval, key *signing.PrivateKey) ([]byte, error) {
	body, err := canonical.Marshal(a)
	if err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(&recordv1.SignedApproval{Approval: body, Signature: key.Sign(approvalContext(body))})
	if err != nil {
		return nil, err
	}
	if _, err := ParseApproval(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseApproval reads the exact bytes of a SignedApproval, strictly, with the
// attestations of the head that it names. It returns a [*RuleError] or
// [ErrNewer]. Whether the approval counts is [State.CheckApproval]'s to say.
func ParseApproval(signed []byte) (*Approval, error) {
	outer := &recordv1.SignedApproval{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	m := &recordv1.Approval{}
	if err := read(outer.Approval, m); err != nil {
		return nil, err
	}
	a := &Approval{signed: slices.Clone(signed), body: outer.Approval, signature: outer.Signature, message: m}
	c := checker{where: "approval"}
	c.size("signature", outer.Signature, signing.SignatureSize)
	c.size("request", m.Request, hashSize)
	c.size("account", m.Account, hashSize)
	c.between("epoch", m.Epoch, 1, maxIndex)
	c.at("holder", m.Holder, func(c *checker) { checkHolder(c, m.Holder) })
	c.signKey("sign_key", m.SignKey)
	c.sealKey("seal_key", m.SealKey)
	c.time("not_before", m.NotBefore)
	c.time("expiry", m.Expiry)
	for _, veto := range m.Vetoes {
		c.size("vetoes", veto, hashSize)
	}
	if k := m.Holder.GetKind(); k != recordv1.Holder_KIND_MEMBER && k != recordv1.Holder_KIND_SHEET {
		c.fault("holder", "only members and the sheet approve")
	}
	if m.Head != nil && m.Holder.GetKind() == recordv1.Holder_KIND_SHEET {
		c.fault("head", "a sheet has seen no head")
	}
	if m.Expiry < m.NotBefore {
		c.fault("expiry", "earlier than not_before")
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := a.parseHead(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Approval) parseHead() (err error) {
	if a.message.Head == nil {
		return nil
	}
	if a.device, err = ParseAttestation(a.message.Head.Device); err != nil {
		return fmt.Errorf("approval.head.device: %w", err)
	}
	if a.server, err = ParseAttestation(a.message.Head.Server); err != nil {
		return fmt.Errorf("approval.head.server: %w", err)
	}
	account := AccountID(a.message.Account)
	if a.device.Account() != account || a.server.Account() != account || a.device.Head() != a.server.Head() ||
		a.device.Holder().Kind != recordv1.Holder_KIND_DEVICE || a.server.Holder().Kind != recordv1.Holder_KIND_SERVER {
		return refuse(RuleApproval, "its head is not one that a device of the account and the server attested")
	}
	return nil
}

func approvalContext(body []byte) *signing.Context { return signing.NewContext("approval").Bytes(body) }

// Bytes returns the exact bytes of the SignedApproval. Do not change them.
func (a *Approval) Bytes() []byte { return a.signed }

// Message returns the approval's fields.
func (a *Approval) Message() *recordv1.Approval { return a.message }

// Request returns the id of the request that is approved.
func (a *Approval) Request() Hash { return Hash(a.message.Request) }

// Holder returns who approves: a member, or the sheet.
func (a *Approval) Holder() *recordv1.Holder { return a.message.Holder }

// NotBefore returns when the approval starts to be valid.
func (a *Approval) NotBefore() time.Time { return timeOf(a.message.NotBefore) }

// Expiry returns the last time at which the approval is valid.
func (a *Approval) Expiry() time.Time { return timeOf(a.message.Expiry) }

// Vetoes returns the hashes of the entries with the vetoes that the approval
// overrules, in ledger order.
func (a *Approval) Vetoes() []Hash {
	var vetoes []Hash
	for _, veto := range a.message.Vetoes {
		vetoes = append(vetoes, Hash(veto))
	}
	return vetoes
}

// Head returns the head that the approval names, and false if it names none.
func (a *Approval) Head() (Head, bool) {
	if a.device == nil {
		return Head{}, false
	}
	return a.device.Head(), true
}

// Attestations returns those of the approval's head: of a device of the account
// and of the server. Both are nil if it names no head.
func (a *Approval) Attestations() (device, server *Attestation) { return a.device, a.server }

// names says whether the approval is for this request and these keys.
func (a *Approval) names(r *RecoveryRequest) bool {
	return a.Request() == r.id &&
		bytes.Equal(a.message.Account, r.message.Account) &&
		bytes.Equal(a.message.SignKey, r.message.SignKey) &&
		bytes.Equal(a.message.SealKey, r.message.SealKey)
}
