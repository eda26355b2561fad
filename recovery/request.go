package recovery

import (
	"bytes"
	"fmt"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// NewRequest returns the request of a new device for an account, signed with the
// device's sign key. server is the sign key of the account's server, now the
// device's time. Its errors are the ledger's.
func NewRequest(account ledger.AccountID, keys *home.Keys, server *signing.PublicKey, nonce [16]byte, now time.Time) (*ledger.RecoveryRequest, error) {
	signed, err := ledger.NewRecoveryRequest(&recordv1.RecoveryRequest{
		Account:    account[:],
		Nonce:      nonce[:],
		SignKey:    keys.Sign.PublicKey().Bytes(),
		SealKey:    keys.Seal.PublicKey().Bytes(),
		ConfirmKey: keys.Confirm.Bytes(),
		Time:       uint64(now.UnixMilli()),
		Server:     server.Bytes(),
	}, keys.Sign)
	if err != nil {
		return nil, err
	}
	return ledger.ParseRecoveryRequest(signed)
}

// ParseEnvelope reads the exact bytes of a SignedShareEnvelope, strictly, and
// checks that the device that it names as its signer, with the key that it gives
// for it, signed it. Whether that key is the owner's is for whoever receives it
// to know. It returns an error that wraps [ErrEnvelope].
func ParseEnvelope(signed []byte) (*recordv1.ShareEnvelope, error) {
	var outer recordv1.SignedShareEnvelope
	if err := canonical.Unmarshal(signed, &outer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	envelope := &recordv1.ShareEnvelope{}
	if err := canonical.Unmarshal(outer.Envelope, envelope); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	if err := checkEnvelope(envelope); err != nil {
		return nil, err
	}
	for _, d := range envelope.Devices {
		if d.Device != envelope.Device {
			continue
		}
		key, err := signing.NewPublicKey(d.SignKey)
		if err != nil {
			return nil, fmt.Errorf("%w: device %d: %w", ErrEnvelope, d.Device, err)
		}
		if key.Verify(signing.NewContext("share-envelope").Bytes(outer.Envelope), outer.Signature) {
			return envelope, nil
		}
		return nil, fmt.Errorf("%w: device %d did not sign it", ErrEnvelope, d.Device)
	}
	return nil, fmt.Errorf("%w: it does not know device %d, which is to have signed it", ErrEnvelope, envelope.Device)
}

// checkEnvelope checks what this package reads of an envelope.
func checkEnvelope(e *recordv1.ShareEnvelope) error {
	if len(e.Account) != len(ledger.AccountID{}) {
		return fmt.Errorf("%w: an account id of %d bytes", ErrEnvelope, len(e.Account))
	}
	if e.Epoch == 0 || e.Member == 0 || e.Member > e.Members || e.Members > seed.MaxMembers || e.Quorum == 0 || e.Quorum > e.Members {
		return fmt.Errorf("%w: epoch %d, member %d of %d, quorum %d", ErrEnvelope, e.Epoch, e.Member, e.Members, e.Quorum)
	}
	if e.WaitingPeriod == 0 || e.WaitingPeriod > maxWaiting {
		return fmt.Errorf("%w: a waiting period of %d seconds", ErrEnvelope, e.WaitingPeriod)
	}
	for _, key := range [][]byte{e.ShareKey, e.RootKey, e.Server.GetSignKey()} {
		if _, err := signing.NewPublicKey(key); err != nil {
			return fmt.Errorf("%w: %w", ErrEnvelope, err)
		}
	}
	return nil
}

// maxWaiting is the ledger's greatest waiting period, in seconds.
const maxWaiting = 365 * 24 * 60 * 60

// CheckRequest is the contact's look at a request before a person is asked: it is
// for the account whose share is held, names the account's server, and keys that
// are none of the owner's devices that the envelope knows. It returns an error
// that wraps [ErrRequest], or [ErrOtherServer], which may mean no more than that
// the account has moved.
func CheckRequest(envelope *recordv1.ShareEnvelope, request *ledger.RecoveryRequest) error {
	if err := checkAccount(envelope, request); err != nil {
		return err
	}
	if !bytes.Equal(request.Message().Server, envelope.GetServer().GetSignKey()) {
		return ErrOtherServer
	}
	return nil
}

// checkAccount is CheckRequest but for the server, whose keys an account can
// change.
func checkAccount(envelope *recordv1.ShareEnvelope, request *ledger.RecoveryRequest) error {
	if account := request.Account(); !bytes.Equal(account[:], envelope.GetAccount()) {
		return fmt.Errorf("%w: it is for account %v", ErrRequest, account)
	}
	m := request.Message()
	for _, d := range envelope.GetDevices() {
		for _, key := range [][]byte{m.SignKey, m.SealKey, m.ConfirmKey} {
			if bytes.Equal(key, d.SignKey) {
				return fmt.Errorf("%w: it has the keys of the owner's device %d", ErrRequest, d.Device)
			}
		}
	}
	return nil
}

// DueAt returns when approval and share may leave, and words may be shown: the
// waiting period of the envelope after the contact's own program first saw the
// request, or its newest veto.
func DueAt(envelope *recordv1.ShareEnvelope, firstSeen time.Time) time.Time {
	return firstSeen.Add(time.Duration(envelope.GetWaitingPeriod()) * time.Second)
}
