package credential

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/shamir"
)

// keySize is the size of k in bytes.
const keySize = 32

// Split pads a record and splits it among the three parties, bound to a place.
// From rand, which must be a cryptographic generator, it reads 32 bytes for k
// and as many as k ‖ padded record has for the split. Its only errors are
// rand's.
func Split(rand io.Reader, record []byte, b Binding) (*Shares, error) {
	padded := Pad(record)
	defer clear(padded)
	secret := make([]byte, keySize+len(padded))
	defer clear(secret)
	if _, err := io.ReadFull(rand, secret[:keySize]); err != nil {
		return nil, fmt.Errorf("credential: random generator failed, nothing was split: %w", err)
	}
	copy(secret[keySize:], padded)

	shares, err := shamir.Split(rand, secret, 2, 3)
	if err != nil {
		return nil, fmt.Errorf("credential: nothing was split: %w", err)
	}
	s := &Shares{secret: func() [][]byte { return shares }}
	copy(s.Tag[:], tag(secret, b))
	for i, share := range shares {
		s.Hashes[i] = sha256.Sum256(share)
	}
	return s, nil
}

// tag returns HMAC-SHA256(k, context ‖ padded record) of k ‖ padded record.
func tag(secret []byte, b Binding) []byte {
	mac := hmac.New(sha256.New, secret[:keySize])
	mac.Write(b.Sealing(roleTag, "").Context().Encode())
	mac.Write(secret[keySize:])
	return mac.Sum(nil)
}

// Combine returns the record that two or three of its shares give, in any order.
// Every share is compared with its hash in s, and the result with the tag in s
// and the place it is to come from.
//
// It returns [ErrShares]; a [*WrongShareError] for each share that is not as s
// names it, joined if there are several; [ErrTag]; or [ErrPadding], which with a
// right tag means that the record was made wrongly.
func Combine(b Binding, s *recordv1.SplitSecret, shares ...[]byte) ([]byte, error) {
	if err := checkAll(s, shares); err != nil {
		return nil, err
	}
	secret, err := shamir.Combine(shares)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShares, err)
	}
	defer clear(secret)
	if len(secret) < keySize || !hmac.Equal(tag(secret, b), s.GetTag()) {
		return nil, ErrTag
	}
	record, err := Unpad(secret[keySize:])
	if err != nil {
		return nil, err
	}
	return append([]byte{}, record...), nil
}

// checkAll compares every share with its hash before it says what is wrong, so
// that all wrong ones are named.
func checkAll(s *recordv1.SplitSecret, shares [][]byte) error {
	if len(shares) < 2 || len(shares) > 3 {
		return fmt.Errorf("%w: %d given", ErrShares, len(shares))
	}
	var wrong []error
	for i, share := range shares {
		if len(share) == 0 || !Party(share[len(share)-1]).valid() {
			return fmt.Errorf("%w: number %d of those given ends with the number of no party", ErrShares, i+1)
		}
		if err := CheckShare(s, Party(share[len(share)-1]), share); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 1 {
		return wrong[0]
	}
	return errors.Join(wrong...)
}

// CheckShare says by a [*WrongShareError] that a share is not this party's, as s
// names it by its hash. A party that s has no hash of has no right share.
func CheckShare(s *recordv1.SplitSecret, party Party, share []byte) error {
	var want []byte
	switch party {
	case Device:
		want = s.GetDeviceShareHash()
	case Server:
		want = s.GetServerShareHash()
	case Backup:
		want = s.GetBackupShareHash()
	}
	hash := sha256.Sum256(share)
	if !bytes.HasSuffix(share, []byte{byte(party)}) || subtle.ConstantTimeCompare(hash[:], want) != 1 {
		return &WrongShareError{party}
	}
	return nil
}

// ThirdShare returns party x's share from the two others. Like any interpolation
// it gives a wrong share from wrong ones: check the result with [CheckShare].
// It returns [ErrShares] if the two are not the shares of the two other parties.
func ThirdShare(a, b []byte, x Party) ([]byte, error) {
	for _, share := range [][]byte{a, b} {
		if len(share) == 0 || !Party(share[len(share)-1]).valid() {
			return nil, fmt.Errorf("%w: one ends with the number of no party", ErrShares)
		}
	}
	if !x.valid() {
		return nil, fmt.Errorf("%w: %s has none", ErrShares, x)
	}
	share, err := shamir.Interpolate([][]byte{a, b}, byte(x))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShares, err)
	}
	return share, nil
}
