package shamir

import (
	"bytes"
	"testing"
)

// FuzzCombine cuts data into shares. What is refused has a nil result; what is
// accepted lies on the same polynomial as all shares given.
func FuzzCombine(f *testing.F) {
	f.Add([]byte{0xd4, 1, 0x4a, 2}, 2)
	f.Add([]byte{0xd4, 0x01, 1, 0x4a, 0x02, 2, 0xc9, 0x03, 3}, 3)
	f.Add([]byte{0xd4, 0, 0x4a, 2}, 2)
	f.Add([]byte{0xd4, 1, 0x4a, 1}, 2)
	f.Add([]byte{0xd4, 1, 0x4a}, 2)
	f.Add([]byte{1, 2}, 1)
	f.Add([]byte{}, 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size < 1 || len(data) > 300*8 {
			return
		}
		var shares [][]byte
		for rest := data; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			shares = append(shares, rest[:min(size, len(rest))])
		}
		secret, err := Combine(shares)
		if err != nil {
			if secret != nil {
				t.Fatalf("%x beside %v", secret, err)
			}
			return
		}
		if len(secret) != size-1 {
			t.Fatalf("secret of %d bytes from shares of %d", len(secret), size)
		}
		xs, ys := []byte{0}, [][]byte{secret}
		for _, share := range shares[1:] {
			xs, ys = append(xs, share[size-1]), append(ys, share[:size-1])
		}
		y, err := InterpolateAt(shares[0][size-1], xs, ys)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(y, shares[0][:size-1]) {
			t.Fatalf("secret and other shares give %x for share %x", y, shares[0])
		}
	})
}

// FuzzSplit takes coefficients from the fuzzer too.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("secret"), []byte("random"), 2, 3)
	f.Add([]byte("s"), []byte{0, 0}, 3, 3)
	f.Add([]byte("s"), []byte{}, 2, 2)
	f.Add([]byte{}, []byte{1}, 2, 256)
	f.Fuzz(func(t *testing.T, secret, random []byte, k, n int) {
		shares, err := Split(bytes.NewReader(random), secret, k, n)
		wellFormed := 2 <= k && k <= n && n <= 255 && len(secret) > 0
		if accepted := wellFormed && len(random) >= (k-1)*len(secret); accepted != (err == nil) {
			t.Fatalf("%d of %d, %d bytes, %d random bytes: %v", k, n, len(secret), len(random), err)
		}
		if err != nil {
			if shares != nil {
				t.Fatalf("%x beside %v", shares, err)
			}
			return
		}
		for _, quorum := range [][][]byte{shares[:k], shares[n-k:]} {
			got, err := Combine(quorum)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, secret) {
				t.Fatalf("got %x, want %x", got, secret)
			}
		}
	})
}
