package credential

import (
	"encoding/hex"
	"fmt"
	"io"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// ContactHalf is one half of a waiting share on its way to the contact that was
// chosen for it. The owner's device sends one, the server the other; the share is
// whole only where both arrive.
type ContactHalf struct {
	Account [32]byte // the owner's
	Epoch   uint64
	Member  uint64
	Contact [32]byte // the contact's account
	Party   Party    // whose half it is: Device or Server
	Device  uint64   // with Device: number of the owner's device that sends it
}

// Seal seals the half to one device of the contact. Its errors are rand's, and
// one that wraps [ErrInput].
func (h ContactHalf) Seal(rand io.Reader, to *hpke.PublicKey, half []byte) (*recordv1.SealedHalf, error) {
	c, err := h.context()
	if err != nil {
		return nil, err
	}
	sealed, err := hpke.Seal(rand, to, c.Encode(), nil, half)
	if err != nil {
		return nil, fmt.Errorf("credential: %s half of member %d for its contact: %w", h.Party, h.Member, err)
	}
	return &recordv1.SealedHalf{SealKey: to.Bytes(), Sealed: sealed}, nil
}

// Open opens what Seal sealed, with the seal key of the contact's device. The
// caller compares the half with its hash; see [CheckShare] and [Combine]. It
// returns an error that wraps [ErrOpen] or [ErrInput].
func (h ContactHalf) Open(key hpke.Opener, sealed []byte) ([]byte, error) {
	c, err := h.context()
	if err != nil {
		return nil, err
	}
	half, err := openHPKE(key, c, sealed)
	if err != nil {
		return nil, fmt.Errorf("%s half of member %d, epoch %d: %w", h.Party, h.Member, h.Epoch, err)
	}
	return half, nil
}

func (h ContactHalf) context() (*signing.Context, error) {
	var sender string
	switch h.Party {
	case Device:
		sender = DeviceName(h.Device)
	case Server:
		sender = ServerName
	default:
		return nil, fmt.Errorf("%w: a waiting share has no %s half", ErrInput, h.Party)
	}
	return signing.Sealing{
		Kind:      "contact-half",
		Account:   h.Account[:],
		Epoch:     h.Epoch,
		Object:    []byte(MemberName(h.Member)),
		Role:      h.Party.String(),
		Sender:    sender,
		Recipient: "account/" + hex.EncodeToString(h.Contact[:]),
	}.Context(), nil
}
