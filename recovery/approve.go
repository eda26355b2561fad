package recovery

import (
	"errors"
	"io"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// Terms are what an approval says beside whom it is for.
type Terms struct {
	NotBefore, Expiry time.Time
	Vetoes            []ledger.Hash // entries with the vetoes of the request that it overrules, in ledger order
}

// Approve makes a contact's approval from the share that it holds, signed with the
// share's key, naming the newest head that it holds. It returns an error that
// wraps [ErrEnvelope], [ErrRequest] or [ErrWrongShare], or the ledger's.
func Approve(stored *recordv1.StoredShare, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	return nil, errors.ErrUnsupported
}

// ApproveOnPaper makes the approval of a member that is paper from its words, on
// the new device. It names no head.
func ApproveOnPaper(share *slip39.Share, epoch uint64, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	return nil, errors.ErrUnsupported
}

// ApproveWithSheet makes the approval of a printed sheet, which is worth a
// quorum's, from its approval key, on the new device. It names no head.
func ApproveWithSheet(key *signing.PrivateKey, epoch uint64, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	return nil, errors.ErrUnsupported
}

// SealShare seals a member's share of an epoch to the new device, beside its
// approval. Its errors are rand's, slip39.ErrErased, and one that wraps
// [ErrWrongShare].
func SealShare(rand io.Reader, share *slip39.Share, epoch uint64, request *ledger.RecoveryRequest) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// OpenShare opens on the new device the share that came with an approval of its
// request, and checks that it is the share that signed the approval. It returns an
// error that wraps [ErrSealedShare]. The caller erases the share.
func OpenShare(key *hpke.PrivateKey, request *ledger.RecoveryRequest, approval *ledger.Approval, sealed []byte) (*slip39.Share, error) {
	return nil, errors.ErrUnsupported
}
