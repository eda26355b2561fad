package seed

import (
	"bytes"
	"crypto/sha256"
	"fmt"

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
	var place signing.Sealing
	switch share.Kind {
	case recordv1.SealedServerShare_KIND_SLOT:
		place = credential.SlotBinding(account, &recordv1.SlotPut{
			Slot:    share.Slot[:],
			Version: share.Version,
			Epoch:   share.Epoch,
			Device:  share.Device,
		}).Sealing("server", credential.ServerName)
	case recordv1.SealedServerShare_KIND_SEED:
		place = shareToServer(account, share.Epoch, share.Device)
	case recordv1.SealedServerShare_KIND_WAITING:
		place = credential.WaitingBinding(account, share.Epoch, share.Member, share.Device).Sealing("server", credential.ServerName)
	default:
		return nil, fmt.Errorf("%w: a server share of kind %v", ErrInput, share.Kind)
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
