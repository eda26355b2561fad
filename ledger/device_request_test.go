package ledger

import (
	"errors"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// deviceRequest is what a device with these keys asks to be added with.
func (w *world) deviceRequest(k *keys) *recordv1.DeviceRequest {
	account := w.state.Account()
	return &recordv1.DeviceRequest{
		Account:    account[:],
		Nonce:      w.bytes(idSize),
		SignKey:    k.sign.PublicKey().Bytes(),
		SealKey:    k.seal.PublicKey().Bytes(),
		ConfirmKey: k.confirm.PublicKey().Bytes(),
		Time:       uint64(w.now.UnixMilli()),
		Server:     w.server.sign.PublicKey().Bytes(),
	}
}

func TestDeviceRequest(t *testing.T) {
	w := play(t, "G E")
	k := w.keys()
	b, err := NewDeviceRequest(w.deviceRequest(k), k.sign)
	must(t, err)
	r, err := ParseDeviceRequest(b)
	must(t, err)
	must(t, w.state.CheckDeviceRequest(r))
	if r.Account() != w.state.Account() || !r.SignKey().Equal(k.sign.PublicKey()) || !r.Time().Equal(w.now) ||
		string(r.SealKey().Bytes()) != string(k.seal.PublicKey().Bytes()) || !r.ConfirmKey().Equal(k.confirm.PublicKey()) {
		t.Errorf("got %v", r.Message())
	}
	for name, c := range map[string]struct {
		spoil func(*recordv1.DeviceRequest)
		rule  Rule // when it is made, or else when it is checked
	}{
		"another account":      {func(m *recordv1.DeviceRequest) { m.Account = w.bytes(hashSize) }, RuleDeviceRequest},
		"another server":       {func(m *recordv1.DeviceRequest) { m.Server = w.signKey().PublicKey().Bytes() }, RuleDeviceRequest},
		"a key of the account": {func(m *recordv1.DeviceRequest) { m.ConfirmKey = w.devices[1].confirm.PublicKey().Bytes() }, RuleKeyReused},
		"one key for two uses": {func(m *recordv1.DeviceRequest) { m.ConfirmKey = m.SealKey }, RuleField},
		"another signer":       {func(m *recordv1.DeviceRequest) { m.SignKey = w.signKey().PublicKey().Bytes() }, RuleDeviceRequest},
	} {
		m := w.deviceRequest(k)
		c.spoil(m)
		b, err := NewDeviceRequest(m, k.sign)
		if err == nil {
			r, parseErr := ParseDeviceRequest(b)
			must(t, parseErr)
			err = w.state.CheckDeviceRequest(r)
		}
		if !errors.Is(err, &RuleError{Rule: c.rule}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	again, err := NewDeviceRequest(w.deviceRequest(k), k.sign)
	must(t, err)
	if other, err := ParseDeviceRequest(again); err != nil || other.ID() == r.ID() {
		t.Errorf("two requests have one id (%v)", err)
	}
}
