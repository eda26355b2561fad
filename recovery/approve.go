package recovery

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// Terms are what an approval says beside whom it is for.
type Terms struct {
	NotBefore, Expiry time.Time
	Vetoes            []ledger.Hash // entries with the vetoes of the request that it overrules, in ledger order
}

// Approve makes a contact's approval from the share that it holds, signed with the
// share's key, naming the newest head that it holds. It does not look at the
// request's server, see [CheckRequest]. It returns an error that wraps
// [ErrEnvelope], [ErrRequest] or [ErrWrongShare], or the ledger's.
func Approve(stored *recordv1.StoredShare, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	envelope, err := ParseEnvelope(stored.GetEnvelope())
	if err != nil {
		return nil, err
	}
	if err := checkAccount(envelope, request); err != nil {
		return nil, err
	}
	share, err := slip39.ParseBinary(stored.GetShare())
	if err != nil {
		return nil, fmt.Errorf("%w: the share that is held: %w", ErrWrongShare, err)
	}
	defer share.Erase()
	key, err := memberKey(share, request.Account(), envelope.Epoch, envelope.Member)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	if want, err := signing.NewPublicKey(envelope.ShareKey); err != nil || !key.PublicKey().Equal(want) {
		return nil, fmt.Errorf("%w: the share that is held is not its envelope's", ErrWrongShare)
	}
	var head *recordv1.ProvedHead
	if len(stored.HeadDevice) > 0 && len(stored.HeadServer) > 0 {
		head = &recordv1.ProvedHead{Device: stored.HeadDevice, Server: stored.HeadServer}
	}
	return approve(key, member(envelope.Member), envelope.Epoch, head, request, t)
}

// ApproveOnPaper makes the approval of a member that is paper from its words, on
// the new device. It names no head. It returns an error that wraps
// [ErrWrongShare] for a share that is no contact's, or the ledger's.
func ApproveOnPaper(share *slip39.Share, epoch uint64, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	number := uint64(share.MemberIndex()) + 1
	key, err := memberKey(share, request.Account(), epoch, number)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	return approve(key, member(number), epoch, nil, request, t)
}

// ApproveWithSheet makes the approval of a printed sheet, which is worth a
// quorum's, from its approval key, on the new device. It names no head. Its errors
// are the ledger's.
func ApproveWithSheet(key *signing.PrivateKey, epoch uint64, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	return approve(key, &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET}, epoch, nil, request, t)
}

func member(number uint64) *recordv1.Holder {
	return &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: number}
}

func memberKey(share *slip39.Share, account ledger.AccountID, epoch, number uint64) (*signing.PrivateKey, error) {
	key, err := seed.ShareKey(share, account, epoch, number)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongShare, err)
	}
	return key, nil
}

func approve(key *signing.PrivateKey, holder *recordv1.Holder, epoch uint64, head *recordv1.ProvedHead, request *ledger.RecoveryRequest, t Terms) (*ledger.Approval, error) {
	id, m := request.ID(), request.Message()
	a := &recordv1.Approval{
		Request:   id[:],
		Account:   m.Account,
		Epoch:     epoch,
		Holder:    holder,
		SignKey:   m.SignKey,
		SealKey:   m.SealKey,
		Head:      head,
		NotBefore: uint64(t.NotBefore.UnixMilli()),
		Expiry:    uint64(t.Expiry.UnixMilli()),
	}
	for _, veto := range t.Vetoes {
		a.Vetoes = append(a.Vetoes, veto[:])
	}
	signed, err := ledger.NewApproval(a, key)
	if err != nil {
		return nil, err
	}
	return ledger.ParseApproval(signed)
}

// SealShare seals a member's share of an epoch to the new device, beside its
// approval. Its errors are rand's, slip39.ErrErased, and one that wraps
// [ErrWrongShare] for a share that is no contact's.
func SealShare(rand io.Reader, share *slip39.Share, epoch uint64, request *ledger.RecoveryRequest) ([]byte, error) {
	if share.GroupIndex() != seed.GroupContacts {
		return nil, fmt.Errorf("%w: group %d is not the contacts'", ErrWrongShare, share.GroupIndex())
	}
	b, err := share.MarshalBinary()
	if err != nil {
		return nil, err
	}
	defer clear(b)
	c := shareToNewDevice(request, epoch, uint64(share.MemberIndex())+1)
	sealed, err := hpke.Seal(rand, request.SealKey(), c.Encode(), nil, b)
	if err != nil {
		return nil, fmt.Errorf("recovery: share for the new device: %w", err)
	}
	return sealed, nil
}

// OpenShare opens on the new device the share that came with an approval of its
// request, and checks that it is the share that signed the approval. It returns an
// error that wraps [ErrSealedShare]. The caller erases the share.
func OpenShare(key hpke.Opener, request *ledger.RecoveryRequest, approval *ledger.Approval, sealed []byte) (*slip39.Share, error) {
	if approval.Request() != request.ID() || approval.Holder().GetKind() != recordv1.Holder_KIND_MEMBER {
		return nil, fmt.Errorf("%w: it comes with the approval of something else", ErrSealedShare)
	}
	epoch, number := approval.Message().Epoch, approval.Holder().Number
	b, err := key.Open(shareToNewDevice(request, epoch, number).Encode(), nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: contact %d: %w", ErrSealedShare, number, err)
	}
	defer clear(b)
	share, err := slip39.ParseBinary(b)
	if err != nil {
		return nil, fmt.Errorf("%w: contact %d: %w", ErrSealedShare, number, err)
	}
	if err := signedBy(share, approval); err != nil {
		share.Erase()
		return nil, err
	}
	return share, nil
}

// signedBy says whether the approval was signed with the key of the share.
func signedBy(share *slip39.Share, approval *ledger.Approval) error {
	number := approval.Holder().Number
	key, err := seed.ShareKey(share, [32]byte(approval.Message().Account), approval.Message().Epoch, number)
	if err != nil {
		return fmt.Errorf("%w: contact %d: %w", ErrSealedShare, number, err)
	}
	defer key.Erase()
	var outer recordv1.SignedApproval
	if err := canonical.Unmarshal(approval.Bytes(), &outer); err != nil {
		return fmt.Errorf("%w: contact %d: %w", ErrSealedShare, number, err)
	}
	if !key.PublicKey().Verify(signing.NewContext("approval").Bytes(outer.Approval), outer.Signature) {
		return fmt.Errorf("%w: contact %d approved with another share", ErrSealedShare, number)
	}
	return nil
}

func shareToNewDevice(request *ledger.RecoveryRequest, epoch, number uint64) *signing.Context {
	id, account := request.ID(), request.Account()
	return signing.Sealing{
		Kind:      "recovery-share",
		Account:   account[:],
		Epoch:     epoch,
		Object:    id[:],
		Version:   number,
		Role:      "contact",
		Sender:    credential.MemberName(number),
		Recipient: "key/" + hex.EncodeToString(request.SealKey().Bytes()),
	}.Context()
}
