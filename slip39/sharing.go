package slip39

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"zeropass.dev/zeropass/shamir"
)

// Where, on the polynomial of a sharing, the secret and its digest lie ("Sharing a
// secret"). Shares lie at 0 to 15.
const (
	secretX   = 255
	digestX   = 254
	maxShares = 16
)

// digestSize is the length in bytes of the digest in front of its random key.
const digestSize = 4

// splitValue shares a value among count members, any threshold of which give it
// back: SplitSecret of the standard. The polynomial is fixed by threshold-2 random
// shares, the digest and the value itself.
func splitValue(rand io.Reader, value []byte, threshold, count int) (ys [][]byte, err error) {
	ys = make([][]byte, count)
	if threshold == 1 {
		for i := range ys {
			ys[i] = bytes.Clone(value)
		}
		return ys, nil
	}
	defer func() {
		if err != nil {
			eraseAll(ys)
			ys = nil
		}
	}()

	var baseX []byte
	var base [][]byte
	for i := range threshold - 2 {
		if ys[i], err = randomBytes(rand, len(value)); err != nil {
			return ys, err
		}
		baseX, base = append(baseX, byte(i)), append(base, ys[i])
	}
	digested, err := newDigest(rand, value)
	if err != nil {
		return ys, err
	}
	defer clear(digested)
	baseX, base = append(baseX, digestX, secretX), append(base, digested, value)

	for i := threshold - 2; i < count; i++ {
		if ys[i], err = shamir.InterpolateAt(byte(i), baseX, base); err != nil {
			return ys, fmt.Errorf("slip39: %w", err)
		}
	}
	return ys, nil
}

// recoverValue returns the value that exactly threshold shares give: RecoverSecret
// of the standard. It returns ErrDigest if they do not fit together, which for a
// threshold of 1 cannot be found out.
func recoverValue(xs []byte, ys [][]byte) ([]byte, error) {
	value, err := valueAt(secretX, xs, ys)
	if err != nil || len(xs) == 1 {
		return value, err
	}
	ok, err := digestFits(value, xs, ys)
	if err != nil || !ok {
		clear(value)
		if err == nil {
			err = ErrDigest
		}
		return nil, err
	}
	return value, nil
}

// digestFits reports whether the polynomial through the points carries the digest
// of value, in time that does not depend on either.
func digestFits(value, xs []byte, ys [][]byte) (bool, error) {
	digested, err := valueAt(digestX, xs, ys)
	if err != nil {
		return false, err
	}
	defer clear(digested)
	want := digest(digested[digestSize:], value)
	defer clear(want)
	return hmac.Equal(want, digested[:digestSize]), nil
}

// newDigest returns D || R, as long as value: R is random, D the digest under R.
func newDigest(rand io.Reader, value []byte) ([]byte, error) {
	key, err := randomBytes(rand, len(value)-digestSize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return slices.Concat(digest(key, value), key), nil
}

func digest(key, value []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(value)
	return mac.Sum(nil)[:digestSize]
}

// valueAt returns the value at x of the polynomial through the points; through one
// point runs a constant.
func valueAt(x byte, xs []byte, ys [][]byte) ([]byte, error) {
	if len(ys) == 1 {
		return bytes.Clone(ys[0]), nil
	}
	y, err := shamir.InterpolateAt(x, xs, ys)
	if err != nil {
		return nil, fmt.Errorf("slip39: %w", err)
	}
	return y, nil
}

func randomBytes(rand io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand, b); err != nil {
		clear(b)
		return nil, fmt.Errorf("slip39: reading randomness: %w", err)
	}
	return b, nil
}

func eraseAll(values [][]byte) {
	for _, v := range values {
		clear(v)
	}
}
