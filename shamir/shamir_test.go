package shamir

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// subsets calls visit with the shares of every subset of size k or more.
func subsets(shares [][]byte, k int, visit func(subset [][]byte)) {
	for mask := range 1 << len(shares) {
		var subset [][]byte
		for i, share := range shares {
			if mask>>i&1 == 1 {
				subset = append(subset, share)
			}
		}
		if len(subset) >= k {
			visit(subset)
		}
	}
}

// The coefficients are chosen, so the shares can be worked out on paper.
func TestSplitKnownCoefficients(t *testing.T) {
	// First byte f(x) = 57 + 83·x, second byte f(x) = 00 + 01·x.
	shares, err := Split(bytes.NewReader([]byte{0x83, 0x01}), []byte{0x57, 0x00}, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	// 83·2 = 1d (from 106 by 11b), 83·3 = 9e.
	for i, want := range []string{"d40101", "4a0202", "c90303"} {
		if got := hex.EncodeToString(shares[i]); got != want {
			t.Errorf("share %d is %s, want %s", i+1, got, want)
		}
	}

	// f(x) = 01 + 02·x + 04·x²: coefficient a_1 is read before a_2.
	shares, err = Split(bytes.NewReader([]byte{0x02, 0x04}), []byte{0x01}, 3, 3)
	if err != nil {
		t.Fatal(err)
	}
	// 1^2^4, 1^4^10, 1^6^14.
	for i, want := range []string{"0701", "1502", "1303"} {
		if got := hex.EncodeToString(shares[i]); got != want {
			t.Errorf("share %d is %s, want %s", i+1, got, want)
		}
	}
}

func TestEverySubsetCombines(t *testing.T) {
	secret := []byte("every subset of k or more")
	for n := 2; n <= 7; n++ {
		for k := 2; k <= n; k++ {
			shares, err := Split(rand.Reader, secret, k, n)
			if err != nil {
				t.Fatal(err)
			}
			if len(shares) != n {
				t.Fatalf("%d of %d: got %d shares", k, n, len(shares))
			}
			subsets(shares, k, func(subset [][]byte) {
				got, err := Combine(subset)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, secret) {
					t.Fatalf("%d of %d: %d shares gave %x", k, n, len(subset), got)
				}
			})
			subsets(shares, 2, func(subset [][]byte) {
				if len(subset) >= k {
					return
				}
				got, err := Combine(subset)
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Equal(got, secret) {
					t.Fatalf("%d of %d: %d shares gave the secret", k, n, len(subset))
				}
			})
		}
	}
}

func TestLargest(t *testing.T) {
	secret := []byte("0123456789abcdefg")
	for _, k := range []int{2, 254, 255} {
		shares, err := Split(rand.Reader, secret, k, 255)
		if err != nil {
			t.Fatal(err)
		}
		for i, share := range shares {
			if share[len(secret)] != byte(i+1) || len(share) != len(secret)+1 {
				t.Fatalf("share %d has coordinate %d and %d bytes", i, share[len(secret)], len(share))
			}
		}
		for _, subset := range [][][]byte{shares, shares[:k], shares[255-k:]} {
			got, err := Combine(subset)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, secret) {
				t.Fatalf("%d of 255: %d shares gave %x", k, len(subset), got)
			}
		}
	}
}

func TestInterpolateMakesTheSameShares(t *testing.T) {
	secret := []byte("a lost share, again")
	shares, err := Split(rand.Reader, secret, 3, 255)
	if err != nil {
		t.Fatal(err)
	}
	for x := 4; x <= 255; x++ {
		got, err := Interpolate(shares[:3], byte(x))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, shares[x-1]) {
			t.Fatalf("share %d is %x, want %x", x, got, shares[x-1])
		}
	}
}

func TestInterpolateAtAnyCoordinates(t *testing.T) {
	// f(x) = 57 + 83·x through points at 0, 2 and 255, as SLIP-0039 places
	// secrets and digests at the upper end of the field.
	f := func(x byte) byte { return 0x57 ^ slowMul(0x83, x) }
	xs := []byte{255, 0, 2}
	ys := [][]byte{{f(255)}, {f(0)}, {f(2)}}
	for x := range 256 {
		got, err := InterpolateAt(byte(x), xs, ys)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, []byte{f(byte(x))}) {
			t.Fatalf("at %d: %x, want %02x", x, got, f(byte(x)))
		}
	}

	// All 256 points, the most there can be.
	all, values := make([]byte, 256), make([][]byte, 256)
	for i := range all {
		all[i], values[i] = byte(i), []byte{byte(i * 7), byte(i * i)}
	}
	got, err := InterpolateAt(200, all, values)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, values[200]) {
		t.Fatalf("at a given coordinate: %x, want %x", got, values[200])
	}
	got[0] ^= 1
	if bytes.Equal(got, values[200]) {
		t.Fatal("the result aliases an argument")
	}
}

func TestBadInputs(t *testing.T) {
	failing := errors.New("no entropy")
	split := func(rand io.Reader, secret string, k, n int) func() ([][]byte, error) {
		return func() ([][]byte, error) { return Split(rand, []byte(secret), k, n) }
	}
	// One result as a list of one, so that a nil result stays nil.
	one := func(b []byte, err error) ([][]byte, error) {
		if b == nil {
			return nil, err
		}
		return [][]byte{b}, err
	}
	shares := func(hexes string) (list [][]byte) {
		for s := range strings.FieldsSeq(hexes) {
			list = append(list, unhex(t, strings.Trim(s, "-")))
		}
		return list
	}
	combine := func(hexes string) func() ([][]byte, error) {
		return func() ([][]byte, error) { return one(Combine(shares(hexes))) }
	}
	interpolate := func(x byte, hexes string) func() ([][]byte, error) {
		return func() ([][]byte, error) { return one(Interpolate(shares(hexes), x)) }
	}
	at := func(xs, hexes string) func() ([][]byte, error) {
		return func() ([][]byte, error) { return one(InterpolateAt(9, unhex(t, xs), shares(hexes))) }
	}
	tooMany := strings.Builder{}
	for x := range 256 {
		fmt.Fprintf(&tooMany, "aa%02x ", max(x, 1))
	}

	for _, c := range []struct {
		name string
		call func() ([][]byte, error)
		want error
	}{
		{"split k 1", split(rand.Reader, "s", 1, 2), ErrThreshold},
		{"split k 0", split(rand.Reader, "s", 0, 2), ErrThreshold},
		{"split k negative", split(rand.Reader, "s", -1, 2), ErrThreshold},
		{"split 1 of 1", split(rand.Reader, "s", 1, 1), ErrThreshold},
		{"split n below k", split(rand.Reader, "s", 3, 2), ErrThreshold},
		{"split n 256", split(rand.Reader, "s", 2, 256), ErrThreshold},
		{"split k and n 256", split(rand.Reader, "s", 256, 256), ErrThreshold},
		{"split empty", split(rand.Reader, "", 2, 3), ErrEmptySecret},
		{"split nil source", split(nil, "s", 2, 3), ErrRandomness},
		{"split empty source", split(strings.NewReader(""), "secret", 2, 3), ErrRandomness},
		{"split empty source's own error", split(strings.NewReader(""), "secret", 2, 3), io.EOF},
		{"split short source", split(strings.NewReader("12345"), "secret", 2, 3), ErrRandomness},
		{"split source short at the second coefficient", split(strings.NewReader("1234567"), "secret", 3, 3), io.ErrUnexpectedEOF},
		{"split failing source", split(iotest.ErrReader(failing), "secret", 2, 3), ErrRandomness},
		{"split failing source's own error", split(iotest.ErrReader(failing), "secret", 2, 3), failing},

		{"combine none", combine(""), ErrTooFewShares},
		{"combine one", combine("aa01"), ErrTooFewShares},
		{"combine without bytes", combine("- -"), ErrEmptyShare},
		{"combine second without bytes", combine("aa01 -"), ErrEmptyShare},
		{"combine coordinates alone", combine("01 02"), ErrEmptyShare},
		{"combine second coordinate alone", combine("aa01 02"), ErrEmptyShare},
		{"combine unequal", combine("aa01 aabb02"), ErrUnequalLengths},
		{"combine unequal, last", combine("aa01 bb02 aabb03"), ErrUnequalLengths},
		{"combine zero first", combine("aa00 bb01"), ErrZeroX},
		{"combine zero last", combine("aa01 bb02 cc00"), ErrZeroX},
		{"combine same share twice", combine("aa01 aa01"), ErrDuplicateX},
		{"combine same coordinate", combine("aa01 bb02 cc01"), ErrDuplicateX},
		{"combine same largest coordinate", combine("aaff bbff"), ErrDuplicateX},
		{"combine 256", combine(tooMany.String()), ErrDuplicateX},

		{"interpolate at zero", interpolate(0, "aa01 bb02"), ErrZeroX},
		{"interpolate at first", interpolate(1, "aa01 bb02"), ErrSharePresent},
		{"interpolate at last", interpolate(2, "aa01 bb02"), ErrSharePresent},
		{"interpolate none", interpolate(3, ""), ErrTooFewShares},
		{"interpolate one", interpolate(3, "aa01"), ErrTooFewShares},
		{"interpolate coordinates alone", interpolate(3, "01 02"), ErrEmptyShare},
		{"interpolate unequal", interpolate(3, "aa01 bbbb02"), ErrUnequalLengths},
		{"interpolate from zero", interpolate(3, "aa00 bb01"), ErrZeroX},
		{"interpolate same coordinate", interpolate(3, "aa01 bb01"), ErrDuplicateX},

		{"at: none", at("", ""), ErrTooFewShares},
		{"at: one", at("01", "aa"), ErrTooFewShares},
		{"at: more values", at("0102", "aa bb cc"), ErrPointCount},
		{"at: more coordinates", at("010203", "aa bb"), ErrPointCount},
		{"at: no bytes", at("0102", "- -"), ErrEmptyShare},
		{"at: unequal", at("0102", "aa bbbb"), ErrUnequalLengths},
		{"at: no second value", at("0102", "aa -"), ErrEmptyShare},
		{"at: same coordinate", at("0001020000", "aa bb cc dd ee"), ErrDuplicateX},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.call()
			if !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if got != nil {
				t.Errorf("result is %x beside an error, want nil", got)
			}
		})
	}
}

// keepingReader fills buffers from a source and keeps hold of them, to look at
// what Split leaves there.
type keepingReader struct {
	source  io.Reader
	buffers [][]byte
}

func (r *keepingReader) Read(p []byte) (int, error) {
	r.buffers = append(r.buffers, p)
	return r.source.Read(p)
}

func TestSplitErasesCoefficients(t *testing.T) {
	secret := []byte("0123456789abcdef")
	for _, c := range []struct {
		name   string
		source io.Reader
		want   error
	}{
		{"after success", strings.NewReader(strings.Repeat("r", 3*16)), nil},
		{"after failure", strings.NewReader(strings.Repeat("r", 2*16+5)), ErrRandomness},
	} {
		t.Run(c.name, func(t *testing.T) {
			keeper := &keepingReader{source: c.source}
			if _, err := Split(keeper, secret, 4, 5); !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if len(keeper.buffers) < 3 {
				t.Fatalf("source was read %d times, want 3 or more", len(keeper.buffers))
			}
			for i, buffer := range keeper.buffers {
				if !bytes.Equal(buffer, make([]byte, len(buffer))) {
					t.Errorf("read %d left coefficient bytes: %x", i, buffer)
				}
			}
		})
	}
}

func TestFailedSplitErasesShares(t *testing.T) {
	secret := []byte("0123456789abcdef")
	for _, available := range []int{0, 5, 16, 20} {
		shares := [][]byte{make([]byte, 17), make([]byte, 17)}
		shares[0][16], shares[1][16] = 1, 2
		if err := evaluate(shares, bytes.NewReader(make([]byte, available)), secret, 3); err == nil {
			t.Fatalf("%d random bytes were enough for 32", available)
		}
		for i, share := range shares {
			if !bytes.Equal(share, make([]byte, 17)) {
				t.Errorf("%d random bytes: share %d is left as %x", available, i, share)
			}
		}
	}
}

func TestArgumentsAreNeitherChangedNorAliased(t *testing.T) {
	secret := []byte("not to be touched")
	shares, err := Split(rand.Reader, secret, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if string(secret) != "not to be touched" {
		t.Fatal("Split changed the secret")
	}
	var before [][]byte
	for _, share := range shares {
		before = append(before, bytes.Clone(share))
	}
	combined, err := Combine(shares[:2])
	if err != nil {
		t.Fatal(err)
	}
	third, err := Interpolate(shares[:2], 77)
	if err != nil {
		t.Fatal(err)
	}
	clear(combined)
	clear(third)
	for i := range shares {
		if !bytes.Equal(shares[i], before[i]) {
			t.Fatalf("share %d changed", i+1)
		}
	}
	// Erasing, or appending to, one share leaves the others as they are.
	_ = append(shares[0], 0xee)
	clear(shares[0])
	if !bytes.Equal(shares[1], before[1]) || string(secret) != "not to be touched" {
		t.Fatal("shares have memory in common")
	}
}

func TestSplitReadsExactly(t *testing.T) {
	for _, c := range []struct{ k, n, length int }{{2, 3, 1}, {2, 255, 32}, {16, 16, 33}, {255, 255, 2}} {
		source := bytes.NewReader(make([]byte, 1<<20))
		if _, err := Split(source, make([]byte, c.length), c.k, c.n); err != nil {
			t.Fatal(err)
		}
		if read, want := 1<<20-source.Len(), (c.k-1)*c.length; read != want {
			t.Errorf("%d of %d, %d bytes: read %d random bytes, want %d", c.k, c.n, c.length, read, want)
		}
	}
}

// A source may return a byte at a time.
func TestSplitSlowSource(t *testing.T) {
	secret := []byte("sixteen bytes ..")
	seed := [32]byte{9}
	fast, err := Split(mathrand.NewChaCha8(seed), secret, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 2*len(secret))
	source := mathrand.NewChaCha8(seed)
	source.Read(random[:16])
	source.Read(random[16:])
	slow, err := Split(iotest.OneByteReader(bytes.NewReader(random)), secret, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	for i := range fast {
		if !bytes.Equal(fast[i], slow[i]) {
			t.Fatalf("share %d differs with a slow source", i+1)
		}
	}
}

func Example() {
	secret := []byte("correct horse battery staple")
	shares, err := Split(rand.Reader, secret, 2, 3)
	if err != nil {
		panic(err)
	}
	recovered, err := Combine(shares[1:]) // the first is lost
	if err != nil {
		panic(err)
	}
	again, err := Interpolate(shares[1:], 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(recovered))
	fmt.Println(bytes.Equal(again, shares[0]))
	// Output:
	// correct horse battery staple
	// true
}
