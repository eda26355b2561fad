package credential

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestPaddedSize(t *testing.T) {
	// Record length and padded size. From 64 on, Padmé of the length + 1, worked
	// out by hand: a length between 2^E and 2^(E+1) is rounded up to a multiple
	// of 2^(E-S), where S is how many bits E has.
	for _, c := range []struct{ record, padded int }{
		{0, 64}, {1, 64}, {20, 64}, {62, 64}, {63, 64},
		{64, 72}, {71, 72}, {72, 80}, {79, 80}, {127, 128}, // E = 6, S = 3: steps of 8
		{128, 144}, {143, 144}, {144, 160}, {255, 256}, // E = 7: steps of 16
		{256, 272}, {271, 272}, {272, 288}, {511, 512}, // E = 8, S = 4: steps of 16
		{512, 544}, {999, 1024}, {1000, 1024}, {1023, 1024}, // E = 9: steps of 32
		{1024, 1088}, {65535, 65536}, {65536, 65536 + 2048}, // E = 16, S = 5: steps of 2048
		{1_000_000, 1_015_808}, // E = 19, S = 5: steps of 16384
	} {
		if got := PaddedSize(c.record); got != c.padded {
			t.Errorf("%d bytes are padded to %d, want %d", c.record, got, c.padded)
		}
	}
}

// padme is algorithm 1 of the paper as printed there, in floating point.
func padme(l int) int {
	e := int(math.Floor(math.Log2(float64(l))))
	s := int(math.Floor(math.Log2(float64(e)))) + 1
	z := e - s
	m := 1<<z - 1
	return (l + m) &^ m
}

func TestPaddedSizeEveryLength(t *testing.T) {
	previous := 0
	for n := range 1 << 17 {
		got := PaddedSize(n)
		if want := max(64, padme(max(n+1, 64))); got != want {
			t.Fatalf("%d bytes are padded to %d, want %d", n, got, want)
		}
		if got < previous || got < n+1 || (n >= 64 && float64(got) > 1.125*float64(n+1)) {
			t.Fatalf("%d bytes are padded to %d, one less to %d", n, got, previous)
		}
		if PaddedSize(got-1) != got {
			t.Fatalf("padding a record that fills %d bytes gives %d", got, PaddedSize(got-1))
		}
		previous = got
	}
}

func TestPadUnpad(t *testing.T) {
	for n := range 2000 {
		for _, fill := range []byte{0, padMark, 0xff} { // records that look like padding
			record := bytes.Repeat([]byte{fill}, n)
			padded := Pad(record)
			want := append(append(bytes.Clone(record), 0x80), make([]byte, PaddedSize(n)-n-1)...)
			if !bytes.Equal(padded, want) {
				t.Fatalf("%d bytes of %#02x are padded to %x", n, fill, padded)
			}
			got, err := Unpad(padded)
			if err != nil || !bytes.Equal(got, record) {
				t.Fatalf("%d bytes of %#02x come back as %x, %v", n, fill, got, err)
			}
		}
	}
}

func TestUnpadRefuses(t *testing.T) {
	zeros := func(n int) []byte { return make([]byte, n) }
	marked := func(size, at int, mark byte) []byte {
		b := zeros(size)
		b[at] = mark
		return b
	}
	for _, c := range []struct {
		name   string
		padded []byte
	}{
		{"nothing", nil},
		{"no mark", zeros(64)},
		{"another mark", marked(64, 5, 0x01)},
		{"a mark with more bits", marked(64, 5, 0x81)},
		{"shorter than the least", marked(63, 5, padMark)},
		{"no size of Padmé", append(bytes.Repeat([]byte{1}, 68), padMark)},
		{"more zeros than Padmé adds", marked(72, 63, padMark)},
		{"fewer zeros than Padmé adds", marked(65, 64, padMark)},
		{"a byte after the mark", append(marked(63, 5, padMark), 1)},
	} {
		if got, err := Unpad(c.padded); got != nil || !errors.Is(err, ErrPadding) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
}

func FuzzUnpad(f *testing.F) {
	f.Add(Pad(nil))
	f.Add(Pad([]byte("password")))
	f.Add(Pad(bytes.Repeat([]byte{0x80}, 100)))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, padded []byte) {
		record, err := Unpad(padded)
		if err != nil {
			if record != nil {
				t.Fatalf("%x beside %v", record, err)
			}
			return
		}
		if !bytes.Equal(Pad(record), padded) {
			t.Fatalf("%x is accepted, but %x is padded to %x", padded, record, Pad(record))
		}
	})
}
