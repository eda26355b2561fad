package credential

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
)

func newWaiting(t testing.TB) Waiting {
	return Waiting{
		Account:        [32]byte{0xac},
		Epoch:          3,
		Member:         2,
		Device:         7,
		Generation:     5,
		DeviceShareKey: symmetricKey(t, 0x44),
		ServerSealKey:  privateKey(t, 0x22).PublicKey(),
		Share:          bytes.Repeat([]byte{0x39}, 74), // a SLIP-39 share of 64 bytes
	}
}

func (w Waiting) binding() Binding { return WaitingBinding(w.Account, w.Epoch, w.Member, w.Device) }

func mustWaiting(t testing.TB, w Waiting) (*recordv1.SplitSecret, *recordv1.SealedServerShare) {
	t.Helper()
	split, sealed, err := NewWaiting(rand.Reader, w)
	if err != nil {
		t.Fatal(err)
	}
	return split, sealed
}

func TestWaitingOpens(t *testing.T) {
	w := newWaiting(t)
	split, sealed := mustWaiting(t, w)
	if split.BackupShareHash != nil || split.Generation != 5 {
		t.Errorf("%v", split)
	}
	if sealed.Kind != recordv1.SealedServerShare_KIND_WAITING || sealed.Epoch != 3 || sealed.Member != 2 || sealed.Slot != nil || sealed.Version != 0 {
		t.Errorf("%v", sealed)
	}
	device, err := OpenDeviceHalf(w.DeviceShareKey, w.binding(), split)
	must(t, device, err)
	server, err := OpenServerHalf(privateKey(t, 0x22), w.binding(), split, sealed.Sealed)
	must(t, server, err)
	share, err := Combine(w.binding(), split, device, server)
	if err != nil || !bytes.Equal(share, w.Share) {
		t.Errorf("%x, %v", share, err)
	}

	// The share at x = 3 was thrown away: nobody has a right one.
	third, err := ThirdShare(device, server, Backup)
	must(t, third, err)
	if share, err := Combine(w.binding(), split, device, third); share != nil || len(wrongParties(err)) != 1 {
		t.Errorf("%x, %v", share, err)
	}
}

func TestWaitingOpensNowhereElse(t *testing.T) {
	w := newWaiting(t)
	split, sealed := mustWaiting(t, w)
	device, err := OpenDeviceHalf(w.DeviceShareKey, w.binding(), split)
	must(t, device, err)
	server, err := OpenServerHalf(privateKey(t, 0x22), w.binding(), split, sealed.Sealed)
	must(t, server, err)

	for name, change := range map[string]func(w *Waiting){
		"account": func(w *Waiting) { w.Account[0]++ },
		"epoch":   func(w *Waiting) { w.Epoch++ },
		"member":  func(w *Waiting) { w.Member++ },
		"device":  func(w *Waiting) { w.Device++ },
	} {
		moved := w
		change(&moved)
		if half, err := OpenDeviceHalf(w.DeviceShareKey, moved.binding(), split); half != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("device half, another %s: %x, %v", name, half, err)
		}
		if half, err := OpenServerHalf(privateKey(t, 0x22), moved.binding(), split, sealed.Sealed); half != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("server half, another %s: %x, %v", name, half, err)
		}
		if share, err := Combine(moved.binding(), split, device, server); share != nil || !errors.Is(err, ErrTag) {
			t.Errorf("share, another %s: %x, %v", name, share, err)
		}
	}

	moved := proto.CloneOf(split)
	moved.Generation++
	if half, err := OpenDeviceHalf(w.DeviceShareKey, w.binding(), moved); half != nil || !errors.Is(err, ErrOpen) {
		t.Errorf("another generation: %x, %v", half, err)
	}
	moved = proto.CloneOf(split)
	moved.DeviceShareHash[0]++
	if half, err := OpenDeviceHalf(w.DeviceShareKey, w.binding(), moved); half != nil || len(wrongParties(err)) != 1 {
		t.Errorf("another hash: %x, %v", half, err)
	}
}

func TestNewWaitingRefuses(t *testing.T) {
	for name, change := range map[string]func(w *Waiting){
		"epoch 0":             func(w *Waiting) { w.Epoch = 0 },
		"member 0":            func(w *Waiting) { w.Member = 0 },
		"device 0":            func(w *Waiting) { w.Device = 0 },
		"generation 2^31":     func(w *Waiting) { w.Generation = 1 << 31 },
		"no device-share key": func(w *Waiting) { w.DeviceShareKey = nil },
		"no server key":       func(w *Waiting) { w.ServerSealKey = nil },
		"no share":            func(w *Waiting) { w.Share = nil },
	} {
		w := newWaiting(t)
		change(&w)
		if split, sealed, err := NewWaiting(rand.Reader, w); split != nil || sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v, %v, %v", name, split, sealed, err)
		}
	}
}

func TestNewWaitingReportsRand(t *testing.T) {
	w := newWaiting(t)
	need := counting{rand: fixed(1)}
	if _, _, err := NewWaiting(&need, w); err != nil {
		t.Fatal(err)
	}
	for left := range need.read {
		split, sealed, err := NewWaiting(&failing{fixed(1), left}, w)
		if split != nil || sealed != nil || !errors.Is(err, errSource) {
			t.Fatalf("after %d of %d bytes: %v, %v, %v", left, need.read, split, sealed, err)
		}
	}
}

func TestContactHalf(t *testing.T) {
	contact := privateKey(t, 0x66)
	half := []byte("half of a share")
	fromDevice := ContactHalf{Account: [32]byte{0xac}, Epoch: 3, Member: 2, Contact: [32]byte{0xcc}, Party: Device, Device: 7}
	fromServer := fromDevice
	fromServer.Party, fromServer.Device = Server, 0

	for _, h := range []ContactHalf{fromDevice, fromServer} {
		sealed, err := h.Seal(rand.Reader, contact.PublicKey(), half)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sealed.SealKey, contact.PublicKey().Bytes()) {
			t.Errorf("%x", sealed.SealKey)
		}
		got, err := h.Open(contact, sealed.Sealed)
		if err != nil || !bytes.Equal(got, half) {
			t.Errorf("%x, %v", got, err)
		}
		if got, err := h.Open(privateKey(t, 0x67), sealed.Sealed); got != nil || !errors.Is(err, ErrOpen) {
			t.Errorf("with another key: %x, %v", got, err)
		}
		for name, change := range map[string]func(h *ContactHalf){
			"account": func(h *ContactHalf) { h.Account[0]++ },
			"epoch":   func(h *ContactHalf) { h.Epoch++ },
			"member":  func(h *ContactHalf) { h.Member++ },
			"contact": func(h *ContactHalf) { h.Contact[0]++ },
			"party":   func(h *ContactHalf) { h.Party = Device + Server - h.Party },
		} {
			moved := h
			change(&moved)
			if got, err := moved.Open(contact, sealed.Sealed); got != nil || !errors.Is(err, ErrOpen) {
				t.Errorf("another %s: %x, %v", name, got, err)
			}
		}
	}

	sealed, err := fromDevice.Seal(rand.Reader, contact.PublicKey(), half)
	if err != nil {
		t.Fatal(err)
	}
	other := fromDevice
	other.Device++
	if got, err := other.Open(contact, sealed.Sealed); got != nil || !errors.Is(err, ErrOpen) {
		t.Errorf("another device: %x, %v", got, err)
	}

	backup := fromDevice
	backup.Party = Backup
	if sealed, err := backup.Seal(rand.Reader, contact.PublicKey(), half); sealed != nil || !errors.Is(err, ErrInput) {
		t.Errorf("a backup half: %v, %v", sealed, err)
	}
	if got, err := backup.Open(contact, sealed.Sealed); got != nil || !errors.Is(err, ErrInput) {
		t.Errorf("a backup half: %x, %v", got, err)
	}
	if sealed, err := fromDevice.Seal(&failing{}, contact.PublicKey(), half); sealed != nil || !errors.Is(err, errSource) {
		t.Errorf("%v, %v", sealed, err)
	}
}

// The contexts are spelled as the specification spells them.
func TestContactHalfContext(t *testing.T) {
	h := ContactHalf{Account: [32]byte{0xac}, Epoch: 3, Member: 2, Contact: [32]byte{0xcc}, Party: Device, Device: 7}
	c, err := h.context()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"zeropass/v1/contact-half\x00", "member/2", "device", "device/7", "account/cc000000"} {
		if !bytes.Contains(c.Encode(), []byte(part)) {
			t.Errorf("no %q in %q", part, c.Encode())
		}
	}
	sealed, err := hpke.Seal(rand.Reader, privateKey(t, 1).PublicKey(), c.Encode(), nil, []byte("half"))
	must(t, sealed, err)
	if got, err := h.Open(privateKey(t, 1), sealed); err != nil || string(got) != "half" {
		t.Errorf("%q, %v", got, err)
	}
}
