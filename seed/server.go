package seed

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// OpenForServer opens any share that was sealed to the server, with the server's
// seal key, and compares it with the hash in the ledger: that of a slot version,
// of group 0 or the server's half of a waiting share. The server calls it for
// every share that reaches it, before it takes the entry that names the share.
//
// It returns an error that wraps [ErrOpen], [ErrShare] for a share with another
// hash, or [ErrInput] for one of no known kind. The caller erases the share.
func OpenForServer(key *hpke.PrivateKey, account [32]byte, share ledger.ServerShare, sealed []byte) ([]byte, error) {
	place, err := serverPlace(account, share)
	if err != nil {
		return nil, err
	}
	opened, err := hpke.Open(key, place.Context().Encode(), nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("server share, %s of epoch %d: %w", place.Kind, share.Epoch, ErrOpen)
	}
	if hash := sha256.Sum256(opened); !bytes.Equal(hash[:], share.Hash[:]) {
		clear(opened)
		return nil, fmt.Errorf("%w %d: the %s sealed to the server has another hash than the ledger's", ErrShare, share.Epoch, place.Kind)
	}
	return opened, nil
}

// SealForServer seals a share of the server's to its own seal key again, as the
// device that made the share has sealed it, for a device that was added later. Its
// errors are rand's, and one that wraps [ErrInput] for a share of no known kind or
// with another hash than the ledger's.
func SealForServer(rand io.Reader, to *hpke.PublicKey, account [32]byte, share ledger.ServerShare, opened []byte) ([]byte, error) {
	place, err := serverPlace(account, share)
	if err != nil {
		return nil, err
	}
	if hash := sha256.Sum256(opened); !bytes.Equal(hash[:], share.Hash[:]) {
		return nil, fmt.Errorf("%w: the %s of epoch %d has another hash than the ledger's", ErrInput, place.Kind, share.Epoch)
	}
	sealed, err := hpke.Seal(rand, to, place.Context().Encode(), nil, opened)
	if err != nil {
		return nil, fmt.Errorf("seed: seal a share to the server: %w", err)
	}
	return sealed, nil
}

// serverPlace is what the sealing of a server share is bound to.
func serverPlace(account [32]byte, share ledger.ServerShare) (signing.Sealing, error) {
	switch share.Kind {
	case recordv1.SealedServerShare_KIND_SLOT:
		return credential.SlotBinding(account, &recordv1.SlotPut{
			Slot:    share.Slot[:],
			Version: share.Version,
			Epoch:   share.Epoch,
			Device:  share.Device,
		}).Sealing("server", credential.ServerName), nil
	case recordv1.SealedServerShare_KIND_SEED:
		return shareToServer(account, share.Epoch, share.Device), nil
	case recordv1.SealedServerShare_KIND_WAITING:
		return credential.WaitingBinding(account, share.Epoch, share.Member, share.Device).Sealing("server", credential.ServerName), nil
	}
	return signing.Sealing{}, fmt.Errorf("%w: a server share of kind %v", ErrInput, share.Kind)
}
