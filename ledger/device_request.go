package ledger

import (
	"bytes"
	"slices"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// DeviceRequest is what a device that is in no ledger yet asks to be added to an
// account with. It proves that the device has the sign key that it names, and
// nothing more.
type DeviceRequest struct {
	signed     []byte
	id         Hash
	message    *recordv1.DeviceRequest
	signKey    *signing.PublicKey
	sealKey    *hpke.PublicKey
	confirmKey *signing.PublicKey
}

// NewDeviceRequest returns the exact bytes of a SignedDeviceRequest, signed with
// the new device's sign key, which the request names.
func NewDeviceRequest(r *recordv1.DeviceRequest, key signing.Signer) ([]byte, error) {
	body, err := canonical.Marshal(r)
	if err != nil {
		return nil, err
	}
	signature, err := key.SignContext(deviceRequestContext(body))
	if err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(&recordv1.SignedDeviceRequest{Request: body, Signature: signature})
	if err != nil {
		return nil, err
	}
	if _, err := ParseDeviceRequest(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseDeviceRequest reads the exact bytes of a SignedDeviceRequest, strictly,
// and checks its signature. It returns a [*RuleError] or [ErrNewer]. The request
// does not alias the bytes.
func ParseDeviceRequest(signed []byte) (*DeviceRequest, error) {
	outer := &recordv1.SignedDeviceRequest{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	m := &recordv1.DeviceRequest{}
	if err := read(outer.Request, m); err != nil {
		return nil, err
	}
	r := &DeviceRequest{
		signed:  slices.Clone(signed),
		id:      hashOf(signing.NewContext("device-request-id").Bytes(signed)),
		message: m,
	}
	c := checker{where: "device_request"}
	c.size("signature", outer.Signature, signing.SignatureSize)
	c.size("account", m.Account, hashSize)
	c.size("nonce", m.Nonce, idSize)
	r.signKey = c.signKey("sign_key", m.SignKey)
	r.sealKey = c.sealKey("seal_key", m.SealKey)
	r.confirmKey = c.signKey("confirm_key", m.ConfirmKey)
	c.time("time", m.Time)
	c.signKey("server", m.Server)
	if bytes.Equal(m.SignKey, m.SealKey) || bytes.Equal(m.SignKey, m.ConfirmKey) || bytes.Equal(m.SealKey, m.ConfirmKey) {
		c.fault("confirm_key", "signing, sealing and confirming share a key")
	}
	if c.err != nil {
		return nil, c.err
	}
	if !r.signKey.Verify(deviceRequestContext(outer.Request), outer.Signature) {
		return nil, refuse(RuleDeviceRequest, "not signed by the new device")
	}
	return r, nil
}

func deviceRequestContext(body []byte) *signing.Context {
	return signing.NewContext("device-request").Bytes(body)
}

// Bytes returns the exact bytes of the SignedDeviceRequest. Do not change them.
func (r *DeviceRequest) Bytes() []byte { return r.signed }

// ID returns the request's id, the hash of its exact bytes.
func (r *DeviceRequest) ID() Hash { return r.id }

// Account returns the account that the device asks to be added to.
func (r *DeviceRequest) Account() AccountID { return AccountID(r.message.Account) }

// Message returns the request's fields.
func (r *DeviceRequest) Message() *recordv1.DeviceRequest { return r.message }

// SignKey returns the new device's sign key.
func (r *DeviceRequest) SignKey() *signing.PublicKey { return r.signKey }

// SealKey returns the new device's seal key.
func (r *DeviceRequest) SealKey() *hpke.PublicKey { return r.sealKey }

// ConfirmKey returns the new device's confirm key.
func (r *DeviceRequest) ConfirmKey() *signing.PublicKey { return r.confirmKey }

// Time returns when the new device asked, by its own clock.
func (r *DeviceRequest) Time() time.Time { return timeOf(r.message.Time) }

// CheckDeviceRequest returns nil if the device may be added in this state: its
// request names this account and this server, and keys that the account never
// had. It returns a [*RuleError] if not.
func (s *State) CheckDeviceRequest(r *DeviceRequest) error {
	if r.Account() != s.account {
		return refuse(RuleDeviceRequest, "it is for another account")
	}
	if !bytes.Equal(r.message.Server, s.server.GetSignKey()) {
		return refuse(RuleDeviceRequest, "it is for another server")
	}
	for _, key := range [][]byte{r.message.SignKey, r.message.SealKey, r.message.ConfirmKey} {
		if s.keys[string(key)] {
			return refuse(RuleKeyReused, "%x", key)
		}
	}
	return nil
}
