package seed

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"zeropass.dev/zeropass/bip32"
)

func newSeed(t testing.TB, b []byte) *Seed {
	t.Helper()
	s, err := New(b[:HalfSize], b[HalfSize:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestKeys(t testing.TB, s *Seed) *Keys {
	t.Helper()
	keys, err := s.Keys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The seed 00 01 … 3f and what hangs below it, computed by another program.
const (
	knownRoot   = "0240833c7364a1753d5a1f77d49e73ae958f98a88803d18870495737a22476182d"
	knownMaster = "0488b21e0183fb22d8800000019d7716294b93194fb262cfbcf03d066f161a37516185f1feedad9cda03d7fce1" +
		"0264a40334fc691252ebdbb4e090761817727bc58deaffe1c6f96e083c337f8da4"
)

var knownSlots = []struct {
	device, counter uint64
	private, public string
}{
	{1, 1, "422bbd22c4b673838ff43a818394ad5836fd58369b60227f24dbe8e860208576", "03b0726c8bf8f9fe83e8295be2de3887d1f41b3dcfedc461d69a75538b663bb393"},
	{3, 7, "2ab3e27a1b019316bebe2832a2beff0db23cfa206b0a42cf21baf75cc6b03106", "0366e8e65ad898577818940391035bd22544e0bd63c38c0eb417154d1ebf4a7bb3"},
	{0, 2, "c31129ce538c61cbe28940c4ecc56d810122b19a368940cf497edfe6e999d5df", "02eb12ffa78b91801f8f6a007b69e8fbefa8ee99007c18cc946f6faf3a8583ee9a"},
	{1<<31 - 1, 1<<31 - 1, "4542ee5e76b34b675836945521a35599026622a88c5cc5dcc30d210528bfb0a4", "030472e9e6b070eabdb6b42648f2f4791b8c0b8f75761b181746ae37975757e20b"},
}

func TestKnownKeys(t *testing.T) {
	keys := newTestKeys(t, newSeed(t, ascending(0, Size)))
	if root := keys.Root().PublicKey().Bytes(); !bytes.Equal(root, unhex(t, knownRoot)) {
		t.Errorf("root key %x, want %s", root, knownRoot)
	}
	if master := keys.Master().Bytes(); !bytes.Equal(master, unhex(t, knownMaster)) {
		t.Errorf("master public key %x, want %s", master, knownMaster)
	}
	master, err := ParseMasterPublicKey(unhex(t, knownMaster))
	if err != nil || !master.Equal(keys.Master()) {
		t.Fatalf("%x, %v", master.Bytes(), err)
	}
	for _, slot := range knownSlots {
		private, err := keys.SlotKey(slot.device, slot.counter)
		if err != nil || !bytes.Equal(private.Bytes(), unhex(t, slot.private)) || !bytes.Equal(private.PublicKey().Bytes(), unhex(t, slot.public)) {
			t.Errorf("slot key %d/%d: %x, %v", slot.device, slot.counter, private.Bytes(), err)
		}
		public, err := master.SlotKey(slot.device, slot.counter)
		if err != nil || !bytes.Equal(public.Bytes(), unhex(t, slot.public)) {
			t.Errorf("public slot key %d/%d: %x, %v", slot.device, slot.counter, public.Bytes(), err)
		}
		if err := master.CheckSlotKey(slot.device, slot.counter, unhex(t, slot.public)); err != nil {
			t.Error(err)
		}
		for _, place := range [][2]uint64{{slot.device ^ 1, slot.counter}, {slot.device, slot.counter ^ 4}} {
			if err := master.CheckSlotKey(place[0], place[1], unhex(t, slot.public)); !errors.Is(err, ErrSlotKey) {
				t.Errorf("the key of %d/%d at %d/%d: %v", slot.device, slot.counter, place[0], place[1], err)
			}
		}
	}
}

func TestPropertyPublicDerivationEqualsPrivate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := New(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "local"), rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "server"))
		if err != nil {
			t.Fatal(err)
		}
		keys, err := s.Keys()
		if err != nil {
			t.Fatal(err)
		}
		device := rapid.Uint64Range(0, 1<<31-1).Draw(t, "device")
		counter := rapid.Uint64Range(1, 1<<31-1).Draw(t, "counter")
		private, err := keys.SlotKey(device, counter)
		if err != nil {
			t.Fatal(err)
		}
		public, err := keys.Master().SlotKey(device, counter)
		if err != nil || !public.Equal(private.PublicKey()) {
			t.Fatalf("%x and %x, %v", private.PublicKey().Bytes(), public.Bytes(), err)
		}
	})
}

func TestSlotKeyRefuses(t *testing.T) {
	keys := newTestKeys(t, newSeed(t, ascending(0, Size)))
	master := keys.Master()
	for _, place := range [][2]uint64{{1, 0}, {1, 1 << 31}, {1 << 31, 1}, {1<<32 + 1, 1}, {1, 1<<32 + 1}} {
		if key, err := keys.SlotKey(place[0], place[1]); key != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%d: %v, %v", place, key, err)
		}
		if key, err := master.SlotKey(place[0], place[1]); key != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%d: %v, %v", place, key, err)
		}
		if err := master.CheckSlotKey(place[0], place[1], unhex(t, knownSlots[0].public)); !errors.Is(err, ErrInput) {
			t.Errorf("%d: %v", place, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {31, 32}, {32, 31}, {33, 32}, {64, 0}, {16, 48}} {
		if s, err := New(make([]byte, size[0]), make([]byte, size[1])); s != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%d bytes: %v, %v", size, s, err)
		}
	}
}

// No seed with these hashes is known, so the step behind the hash is tested.
func TestStartOver(t *testing.T) {
	order := unhex(t, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	for name, private := range map[string][]byte{
		"0":     make([]byte, 32),
		"n":     order,
		"n + 1": append(bytes.Clone(order[:31]), order[31]+1),
		"2^256": bytes.Repeat([]byte{0xff}, 32),
	} {
		keys, err := newKeys(append(bytes.Clone(private), make([]byte, 32)...))
		if keys != nil || !errors.Is(err, ErrStartOver) {
			t.Errorf("private key %s: %v, %v", name, keys, err)
		}
	}
	if _, err := newKeys(append(append(bytes.Clone(order[:31]), order[31]-1), make([]byte, 32)...)); err != nil {
		t.Errorf("private key n - 1: %v", err)
	}
}

func TestParseMasterPublicKeyRefuses(t *testing.T) {
	good := unhex(t, knownMaster)
	changed := func(at int, value ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], value)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, bip32.ErrLength},
		{"77 bytes", good[:77], bip32.ErrLength},
		{"79 bytes", append(bytes.Clone(good), 0), bip32.ErrLength},
		{"another version", changed(0, 0x04, 0x88, 0xad, 0xe4), bip32.ErrVersion},
		{"depth 0", changed(4, 0, 0, 0, 0, 0, 0, 0, 0, 0), ErrInput},
		{"depth 2", changed(4, 2), ErrInput},
		{"m/1", changed(9, 0x00), ErrInput},
		{"m/0', the root key", changed(9, 0x80, 0, 0, 0), ErrInput},
		{"no point", changed(45, append([]byte{2}, make([]byte, 32)...)...), bip32.ErrInvalidKey},
	} {
		if key, err := ParseMasterPublicKey(c.b); key != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzParseMasterPublicKey(f *testing.F) {
	f.Add(unhex(f, knownMaster))
	f.Add([]byte{})
	f.Add(make([]byte, 78))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := ParseMasterPublicKey(b)
		if err != nil {
			if key != nil {
				t.Fatalf("%x beside %v", key.Bytes(), err)
			}
			return
		}
		if !bytes.Equal(key.Bytes(), b) {
			t.Fatalf("%x is accepted and comes back as %x", b, key.Bytes())
		}
	})
}
