package recovery

import (
	"errors"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// NewRequest returns the request of a new device for an account, signed with the
// device's sign key. server is the sign key of the account's server, now the
// device's time.
func NewRequest(account ledger.AccountID, keys *home.Keys, server *signing.PublicKey, nonce [16]byte, now time.Time) (*ledger.RecoveryRequest, error) {
	return nil, errors.ErrUnsupported
}

// ParseEnvelope reads the exact bytes of a SignedShareEnvelope, strictly, and
// checks that the device that it names as its signer, with the key that it gives
// for it, signed it. Whether that key is the owner's is for whoever receives it
// to know. It returns an error that wraps [ErrEnvelope].
func ParseEnvelope(signed []byte) (*recordv1.ShareEnvelope, error) {
	return nil, errors.ErrUnsupported
}

// CheckRequest is the contact's look at a request before a person is asked: it is
// for the account whose share is held, names the account's server, and keys that
// are none of the owner's devices that the envelope knows. It returns an error
// that wraps [ErrRequest], or [ErrOtherServer], which may mean no more than that
// the account has moved.
func CheckRequest(envelope *recordv1.ShareEnvelope, request *ledger.RecoveryRequest) error {
	return errors.ErrUnsupported
}

// DueAt returns when approval and share may leave, and words may be shown: the
// waiting period of the envelope after the contact's own program first saw the
// request, or its newest veto.
func DueAt(envelope *recordv1.ShareEnvelope, firstSeen time.Time) time.Time { return time.Time{} }
