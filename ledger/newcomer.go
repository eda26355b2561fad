package ledger

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// newcomer is what the requests of devices that are in no ledger yet have in
// common, whether they are to be added or recover the account.
type newcomer struct {
	signed     []byte
	id         Hash
	account    AccountID
	signKey    *signing.PublicKey
	sealKey    *hpke.PublicKey
	confirmKey *signing.PublicKey
	time       time.Time
}

type newcomerFields interface {
	GetAccount() []byte
	GetNonce() []byte
	GetSignKey() []byte
	GetSealKey() []byte
	GetConfirmKey() []byte
	GetTime() uint64
	GetServer() []byte
}

type signedNewcomer interface {
	GetRequest() []byte
	GetSignature() []byte
}

// signNewcomer returns the exact bytes of a request and their signature, whose
// context is of this kind.
func signNewcomer(kind string, message proto.Message, key signing.Signer) (body, signature []byte, err error) {
	if body, err = canonical.Marshal(message); err != nil {
		return nil, nil, err
	}
	signature, err = key.SignContext(signing.NewContext(kind).Bytes(body))
	return body, signature, err
}

// parseNewcomer checks what was read of the exact bytes signed.
func parseNewcomer(kind string, rule Rule, signed []byte, outer signedNewcomer, m newcomerFields) (n newcomer, err error) {
	c := checker{where: strings.ReplaceAll(kind, "-", "_")}
	c.size("signature", outer.GetSignature(), signing.SignatureSize)
	c.size("account", m.GetAccount(), hashSize)
	c.size("nonce", m.GetNonce(), idSize)
	n.signKey = c.signKey("sign_key", m.GetSignKey())
	n.sealKey = c.sealKey("seal_key", m.GetSealKey())
	n.confirmKey = c.signKey("confirm_key", m.GetConfirmKey())
	c.time("time", m.GetTime())
	c.signKey("server", m.GetServer())
	if sign, seal, confirm := m.GetSignKey(), m.GetSealKey(), m.GetConfirmKey(); bytes.Equal(sign, seal) || bytes.Equal(sign, confirm) || bytes.Equal(seal, confirm) {
		c.fault("confirm_key", "signing, sealing and confirming share a key")
	}
	if c.err != nil {
		return newcomer{}, c.err
	}
	if !n.signKey.Verify(signing.NewContext(kind).Bytes(outer.GetRequest()), outer.GetSignature()) {
		return newcomer{}, refuse(rule, "not signed by the new device")
	}
	n.signed = slices.Clone(signed)
	n.id = hashOf(signing.NewContext(kind + "-id").Bytes(signed))
	n.account, n.time = AccountID(m.GetAccount()), timeOf(m.GetTime())
	return n, nil
}

// Bytes returns the request's exact bytes with its signature. Do not change them.
func (n *newcomer) Bytes() []byte { return n.signed }

// ID returns the request's id, the hash of its exact bytes.
func (n *newcomer) ID() Hash { return n.id }

// Account returns the account that the device asks for.
func (n *newcomer) Account() AccountID { return n.account }

// SignKey returns the new device's sign key.
func (n *newcomer) SignKey() *signing.PublicKey { return n.signKey }

// SealKey returns the new device's seal key.
func (n *newcomer) SealKey() *hpke.PublicKey { return n.sealKey }

// ConfirmKey returns the new device's confirm key.
func (n *newcomer) ConfirmKey() *signing.PublicKey { return n.confirmKey }

// Time returns when the new device asked, by its own clock.
func (n *newcomer) Time() time.Time { return n.time }
