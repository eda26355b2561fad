package credential

import (
	"fmt"
	"io"
	"unicode/utf8"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// MaxContactName is how long the name of a contact or of a sheet of paper may be,
// in bytes of UTF-8: so every padded name has the same size.
const MaxContactName = minPadded - 1

// SealContactName returns the name that a binding carries, which may be empty, in
// 92 bytes whatever it is. key is the metadata key of bound.Generation; all of
// bound but the name must be there, because the name belongs to that contact, with
// those keys, as that member of that epoch. Its errors are rand's, and one that
// wraps [ErrInput].
func SealContactName(rand io.Reader, key *aead.Key, account [32]byte, bound *recordv1.ContactBound, name string) ([]byte, error) {
	if len(name) > MaxContactName || !utf8.ValidString(name) {
		return nil, fmt.Errorf("%w: the name of a contact has at most %d bytes of UTF-8", ErrInput, MaxContactName)
	}
	padded := Pad([]byte(name))
	defer clear(padded)
	return key.Seal(rand, contactNameContext(account, bound), padded)
}

// OpenContactName returns the name that a binding carries. key is the metadata key
// of bound.Generation. It returns an error that wraps [ErrOpen], [ErrPadding] or
// [ErrInput].
func OpenContactName(key *aead.Key, account [32]byte, bound *recordv1.ContactBound) (string, error) {
	padded, err := open(key, contactNameContext(account, bound), bound.GetSealedName())
	if err == nil {
		padded, err = Unpad(padded)
	}
	if err != nil {
		return "", fmt.Errorf("name of member %d, epoch %d: %w", bound.GetMember(), bound.GetEpoch(), err)
	}
	if len(padded) > MaxContactName || !utf8.Valid(padded) {
		return "", fmt.Errorf("%w: the name of member %d, epoch %d", ErrInput, bound.GetMember(), bound.GetEpoch())
	}
	return string(padded), nil
}

// contactNameContext has the contact's account and keys, each of a fixed size, as
// its object; paper has none.
func contactNameContext(account [32]byte, bound *recordv1.ContactBound) *signing.Context {
	object := append([]byte{}, bound.GetContact().GetAccount()...)
	for _, d := range bound.GetContact().GetDevices() {
		object = append(append(object, d.GetSignKey()...), d.GetSealKey()...)
	}
	return signing.Sealing{
		Kind:      "contact-name",
		Account:   account[:],
		Epoch:     bound.GetEpoch(),
		Object:    object,
		Version:   bound.GetMember(),
		Role:      "name",
		Recipient: GenerationName(bound.GetGeneration()),
	}.Context()
}
