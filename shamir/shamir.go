// Package shamir implements Shamir's secret sharing over GF(2^8).
//
// [Split] turns a secret into n shares, any k of which give it back to
// [Combine], while any k-1 of them are independent of it. [Interpolate] makes
// another share of the same split, or a lost one again, from k shares.
//
// # Scheme
//
// Every byte s of the secret is shared on its own, as in Adi Shamir, "How to
// Share a Secret", Communications of the ACM 22 (1979), with the field
// GF(2^8) reduced by z^8 + z^4 + z^3 + z + 1 (0x11b, FIPS 197, section 4):
//
//	f(x) = s + a_1·x + … + a_(k-1)·x^(k-1)
//
// The coefficients a_1 … a_(k-1) are independent and uniform over all 256
// values. The leading one may be zero: leaving zero out would tell the holders
// of k-1 shares a value that the byte does not have.
//
// A share is the bytes y = f(x) of all secret bytes, in order, followed by the
// one byte x: y ‖ x. x is 1 to 255; 0 is where the secret lies. This is the
// form of the shamir package of HashiCorp Vault and of the npm package
// shamir-secret-sharing; shares pass between them and this package in both
// directions.
//
// # What it promises
//
// Given a source of uniform random bytes, k-1 shares say nothing about the
// secret but its length, whatever the computing power of those who hold them.
// Callers who need to hide the length pad first.
//
// There is no integrity. A polynomial runs through any set of points, so
// Combine cannot tell that a share is wrong, that it is from another split, or
// that there are fewer than k of them: it then returns other bytes and no
// error. Whoever supplies one of the shares and knows the coordinates of the
// others can shift the result by any difference. Authenticate shares, or check
// the result against a MAC whose key was split with the secret; do not keep a
// plain hash of a guessable secret beside its shares.
//
// # Side channels
//
// Running time, branches and memory addresses depend on the number and length
// of shares and on their x coordinates, all of which are public, and not on
// secret, coefficients or y values. There are no tables; multiplication is by
// masks and inversion by a fixed chain of multiplications. On processors that
// promise this only in a special mode, call from within
// crypto/subtle.WithDataIndependentTiming.
//
// Split erases coefficients before it returns. Secrets and shares belong to
// the caller, who erases them with the builtin clear; no function here keeps,
// changes or aliases its arguments.
package shamir

import (
	"errors"
	"fmt"
	"io"
)

// Errors returned by this package. They come wrapped with what was refused,
// never with bytes of a secret or of a share's y; compare with errors.Is.
var (
	// ErrThreshold means that 2 ≤ k ≤ n ≤ 255 does not hold.
	ErrThreshold = errors.New("shamir: threshold and number of shares must satisfy 2 ≤ k ≤ n ≤ 255")
	// ErrEmptySecret means that the secret to split has no bytes.
	ErrEmptySecret = errors.New("shamir: the secret is empty")
	// ErrRandomness means that the random source failed, ended early or is
	// nil. The source's own error is wrapped too.
	ErrRandomness = errors.New("shamir: the random source failed")
	// ErrTooFewShares means that fewer than 2 shares or points were given.
	ErrTooFewShares = errors.New("shamir: at least 2 shares are needed")
	// ErrEmptyShare means that a share has no y bytes.
	ErrEmptyShare = errors.New("shamir: a share has no value")
	// ErrUnequalLengths means that shares, or y values, differ in length.
	ErrUnequalLengths = errors.New("shamir: shares differ in length")
	// ErrZeroX means that a share, or the coordinate of a share asked for, is
	// 0, where the secret itself lies.
	ErrZeroX = errors.New("shamir: 0 is not the coordinate of a share")
	// ErrDuplicateX means that two shares have the same x coordinate.
	ErrDuplicateX = errors.New("shamir: two shares have the same coordinate")
	// ErrSharePresent means that Interpolate was asked for a share that is
	// among those it was given.
	ErrSharePresent = errors.New("shamir: the share asked for is already among those given")
	// ErrPointCount means that coordinates and values differ in number.
	ErrPointCount = errors.New("shamir: coordinates and values differ in number")
)

// Split shares secret, of 1 byte or more, among n holders so that any k of
// them can recover it and fewer learn nothing. It returns n shares of
// len(secret)+1 bytes each, in order of their x coordinates 1 to n. Each share
// has memory of its own.
//
// rand must yield uniform random bytes, as crypto/rand.Reader does. Split
// reads exactly (k-1)·len(secret) bytes: all bytes of coefficient a_1, then
// all of a_2, and so on.
//
// It returns ErrThreshold, ErrEmptySecret or ErrRandomness.
func Split(rand io.Reader, secret []byte, k, n int) ([][]byte, error) {
	if k < 2 || n < k || n > 255 {
		return nil, fmt.Errorf("%w: k = %d, n = %d", ErrThreshold, k, n)
	}
	if len(secret) == 0 {
		return nil, ErrEmptySecret
	}
	if rand == nil {
		return nil, fmt.Errorf("%w: it is nil", ErrRandomness)
	}

	shares := make([][]byte, n)
	for i := range shares {
		shares[i] = make([]byte, len(secret)+1)
		shares[i][len(secret)] = byte(i + 1)
	}
	if err := evaluate(shares, rand, secret, k); err != nil {
		return nil, err
	}
	return shares, nil
}

// evaluate writes to each share, at the x in its last byte, the value of a
// fresh random polynomial of degree at most k-1 that is secret at 0. If rand
// fails it erases the shares: with the terms of few coefficients, or none,
// they are close to the secret.
func evaluate(shares [][]byte, rand io.Reader, secret []byte, k int) error {
	for _, share := range shares {
		copy(share, secret)
	}

	coefficient := make([]byte, len(secret))
	defer clear(coefficient)
	power := make([]byte, len(shares)) // x^j of each share
	for i := range power {
		power[i] = 1
	}
	for range k - 1 {
		if _, err := io.ReadFull(rand, coefficient); err != nil {
			for _, share := range shares {
				clear(share)
			}
			return fmt.Errorf("%w: %w", ErrRandomness, err)
		}
		for i, share := range shares {
			power[i] = mul(power[i], share[len(secret)])
			mulAdd(share, coefficient, power[i])
		}
	}
	return nil
}

// Combine returns the secret that the shares, of len(secret)+1 bytes each, are
// shares of. It uses all shares given, in any order; there must be k or more
// of the same split.
//
// Combine cannot detect a wrong share, a share of another split, or fewer than
// k shares: it returns other bytes then and no error. Check the result.
//
// It returns ErrTooFewShares, ErrEmptyShare, ErrUnequalLengths, ErrZeroX or
// ErrDuplicateX.
func Combine(shares [][]byte) ([]byte, error) {
	xs, ys, err := points(shares)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, len(ys[0]))
	interpolate(secret, 0, xs, ys)
	return secret, nil
}

// Interpolate returns the share at x, from 1 to 255, of the split that the
// given shares are shares of. It has the length of the others and is the very
// share that Split made, if it made one at x. Interpolate uses all shares
// given, in any order; there must be k or more of the same split, and like
// Combine it cannot detect that there are not.
//
// An x that is among the given shares is refused: the answer would be that
// share as given, which others would take for one confirmed by the rest.
//
// It returns ErrZeroX or ErrSharePresent for such x, or ErrTooFewShares,
// ErrEmptyShare, ErrUnequalLengths, ErrZeroX or ErrDuplicateX for the shares.
func Interpolate(shares [][]byte, x byte) ([]byte, error) {
	if x == 0 {
		return nil, fmt.Errorf("%w: use Combine for the secret", ErrZeroX)
	}
	xs, ys, err := points(shares)
	if err != nil {
		return nil, err
	}
	for i := range xs {
		if xs[i] == x {
			return nil, fmt.Errorf("%w: share %d has coordinate %d", ErrSharePresent, i, x)
		}
	}
	share := make([]byte, len(ys[0])+1)
	interpolate(share, x, xs, ys)
	share[len(ys[0])] = x
	return share, nil
}

// InterpolateAt returns the value at x of the polynomial of lowest degree
// through the points (xs[i], ys[i]), for each byte position of the ys on its
// own. It is for schemes that place their own points, such as SLIP-0039: x and
// xs may be any of 0 to 255, xs without repetition. The ys are bare values
// without coordinate, 1 byte or more, equally long; the result has their
// length. At an x that is in xs the result is a copy of its value.
//
// x and xs are public; the ys are treated as secret.
//
// It returns ErrPointCount, ErrTooFewShares for fewer than 2 points,
// ErrEmptyShare, ErrUnequalLengths or ErrDuplicateX.
func InterpolateAt(x byte, xs []byte, ys [][]byte) ([]byte, error) {
	if err := checkPoints(xs, ys); err != nil {
		return nil, err
	}
	value := make([]byte, len(ys[0]))
	interpolate(value, x, xs, ys)
	return value, nil
}

// interpolate adds to dst, which is zero and at least as long as the values,
// the sum of the values each times its basis polynomial at x.
func interpolate(dst []byte, x byte, xs []byte, ys [][]byte) {
	for j := range ys {
		mulAdd(dst, ys[j], basis(x, xs, j))
	}
}

// points takes shares apart into coordinates and values, the values being the
// shares' own memory, and checks them.
func points(shares [][]byte) (xs []byte, ys [][]byte, err error) {
	xs = make([]byte, len(shares))
	ys = make([][]byte, len(shares))
	for i, share := range shares {
		if len(share) == 0 {
			return nil, nil, fmt.Errorf("%w: share %d of %d", ErrEmptyShare, i, len(shares))
		}
		last := len(share) - 1
		xs[i], ys[i] = share[last], share[:last]
	}
	if err := checkPoints(xs, ys); err != nil {
		return nil, nil, err
	}
	for i, x := range xs {
		if x == 0 {
			return nil, nil, fmt.Errorf("%w: share %d of %d", ErrZeroX, i, len(shares))
		}
	}
	return xs, ys, nil
}

// checkPoints refuses points that no polynomial runs through, and values that
// nothing can be recovered from.
func checkPoints(xs []byte, ys [][]byte) error {
	if len(xs) != len(ys) {
		return fmt.Errorf("%w: %d and %d", ErrPointCount, len(xs), len(ys))
	}
	if len(ys) < 2 {
		return fmt.Errorf("%w: %d given", ErrTooFewShares, len(ys))
	}
	for i, y := range ys {
		if len(y) == 0 {
			return fmt.Errorf("%w: share %d of %d", ErrEmptyShare, i, len(ys))
		}
		if len(y) != len(ys[0]) {
			return fmt.Errorf("%w: share %d has %d bytes of value, share 0 has %d", ErrUnequalLengths, i, len(y), len(ys[0]))
		}
	}
	var seen [256]bool // indexed by coordinates, which are public
	for i, x := range xs {
		if seen[x] {
			return fmt.Errorf("%w: %d, again at share %d", ErrDuplicateX, x, i)
		}
		seen[x] = true
	}
	return nil
}
