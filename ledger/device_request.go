package ledger

import (
	"bytes"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// DeviceRequest is what a device that is in no ledger yet asks to be added to an
// account with. It proves that the device has the sign key that it names, and
// nothing more.
type DeviceRequest struct {
	newcomer
	message *recordv1.DeviceRequest
}

const deviceRequestKind = "device-request"

// NewDeviceRequest returns the exact bytes of a SignedDeviceRequest, signed with
// the new device's sign key, which the request names.
func NewDeviceRequest(r *recordv1.DeviceRequest, key signing.Signer) ([]byte, error) {
	body, signature, err := signNewcomer(deviceRequestKind, r, key)
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
	outer, m := &recordv1.SignedDeviceRequest{}, &recordv1.DeviceRequest{}
	if err := read(signed, outer); err != nil {
		return nil, err
	}
	if err := read(outer.Request, m); err != nil {
		return nil, err
	}
	n, err := parseNewcomer(deviceRequestKind, RuleDeviceRequest, signed, outer, m)
	if err != nil {
		return nil, err
	}
	return &DeviceRequest{n, m}, nil
}

// Message returns the request's fields.
func (r *DeviceRequest) Message() *recordv1.DeviceRequest { return r.message }

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
