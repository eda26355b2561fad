package ledger

import (
	"bytes"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// Attestation is a parsed statement of a holder over a head: of a device that it
// has the ledger up to there, of the server that the ledger ended there, of a
// contact that it still has its share and was shown this head.
type Attestation struct {
	signed    []byte
	body      []byte
	signature []byte
	message   *recordv1.Attestation
}

// NewAttestation returns the exact bytes of a SignedAttestation, signed with the
// holder's key: a device's or the server's sign key, a member's share key or the
// sheet's approval key.
func NewAttestation(a *recordv1.Attestation, key signing.Signer) ([]byte, error) {
	body, err := canonical.Marshal(a)
	if err != nil {
		return nil, err
	}
	signature, err := key.SignContext(attestationContext(body))
	if err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(&recordv1.SignedAttestation{Attestation: body, Signature: signature})
	if err != nil {
		return nil, err
	}
	if _, err := ParseAttestation(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseAttestation reads the exact bytes of a SignedAttestation, strictly, and
// returns a [*RuleError] or [ErrNewer]. Whose key must have signed it is for the
// caller to know: see [Attestation.Verify].
func ParseAttestation(signed []byte) (*Attestation, error) {
	outer := &recordv1.SignedAttestation{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	a := &Attestation{
		signed:    slices.Clone(signed),
		body:      outer.Attestation,
		signature: outer.Signature,
		message:   &recordv1.Attestation{},
	}
	if err := read(outer.Attestation, a.message); err != nil {
		return nil, err
	}
	c := checker{where: "attestation"}
	c.size("signature", a.signature, signing.SignatureSize)
	c.size("account", a.message.Account, hashSize)
	c.between("epoch", a.message.Epoch, 0, maxIndex)
	c.between("sequence", a.message.Sequence, 1, maxTime)
	c.size("head", a.message.Head, hashSize)
	c.time("time", a.message.Time)
	c.size("nonce", a.message.Nonce, idSize)
	c.at("holder", a.message.Holder, func(c *checker) { checkHolder(c, a.message.Holder) })
	if c.err != nil {
		return nil, c.err
	}
	return a, nil
}

// Verify returns nil if the key signed the attestation, and a [*RuleError] if it
// did not.
func (a *Attestation) Verify(key *signing.PublicKey) error {
	if !key.Verify(attestationContext(a.body), a.signature) {
		return refuse(RuleAttestation, "not signed with the holder's key")
	}
	return nil
}

// CheckAttestation returns nil if the attestation is of this account and signed
// with the key that this ledger has for its holder, and a [*RuleError] if not.
// The holder may be any device that the account ever had, the present server or
// an earlier one, and a member or the sheet of the attestation's epoch. Whether
// a revoked device's word still counts, and whether the ledger has the head, is
// for the caller to ask.
func (s *State) CheckAttestation(a *Attestation) error {
	if a.Account() != s.account {
		return refuse(RuleAttestation, "it is of another account")
	}
	keys := s.holderKeys(a)
	if len(keys) == 0 {
		return refuse(RuleAttestation, "the ledger does not know the holder")
	}
	for _, key := range keys {
		if a.Verify(key) == nil {
			return nil
		}
	}
	return refuse(RuleAttestation, "not signed with the holder's key")
}

// holderKeys returns the keys with which an attestation's holder may sign.
func (s *State) holderKeys(a *Attestation) []*signing.PublicKey {
	holder := a.Holder()
	switch holder.Kind {
	case recordv1.Holder_KIND_DEVICE:
		if d, ok := s.devices[holder.Number]; ok {
			return []*signing.PublicKey{d.SignKey}
		}
	case recordv1.Holder_KIND_SERVER:
		return s.serverKeys
	case recordv1.Holder_KIND_MEMBER:
		if e, ok := s.epochs[a.Epoch()]; ok {
			if m, ok := e.Member(holder.Number); ok {
				return []*signing.PublicKey{m.ShareKey}
			}
		}
	case recordv1.Holder_KIND_SHEET:
		if e, ok := s.epochs[a.Epoch()]; ok && e.SheetKey != nil {
			return []*signing.PublicKey{e.SheetKey}
		}
	}
	return nil
}

func attestationContext(body []byte) *signing.Context {
	return signing.NewContext("attestation").Bytes(body)
}

// Bytes returns the exact bytes of the SignedAttestation. Do not change them.
func (a *Attestation) Bytes() []byte { return a.signed }

// Account returns the account whose ledger is attested.
func (a *Attestation) Account() AccountID { return AccountID(a.message.Account) }

// Epoch returns the epoch in use at the head, 0 before the first.
func (a *Attestation) Epoch() uint64 { return a.message.Epoch }

// Head returns the attested head.
func (a *Attestation) Head() Head {
	return Head{Sequence: a.message.Sequence, Hash: Hash(a.message.Head)}
}

// Time returns when the holder signed, by its own clock.
func (a *Attestation) Time() time.Time { return timeOf(a.message.Time) }

// Nonce returns the verifier's 16 bytes.
func (a *Attestation) Nonce() []byte { return a.message.Nonce }

// Answers says whether the attestation carries the verifier's nonce.
func (a *Attestation) Answers(nonce []byte) bool { return bytes.Equal(a.message.Nonce, nonce) }

// Holder returns who attests.
func (a *Attestation) Holder() *recordv1.Holder { return a.message.Holder }
