package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// Lost is an account that can be recovered and whose devices are lost, with the
// new device that recovers it and the contact that approves.
type Lost struct {
	*Account
	contact *Account
	device  *device
	request *ledger.RecoveryRequest
	got     release // what the server released
}

// GrowLost makes accounts with one contact each, until there are so many.
func (p *Population) GrowLost(ctx context.Context, accounts int) error {
	return grow(ctx, &p.Lost, accounts, nil, func(ctx context.Context, i int) (*Lost, error) {
		a, err := p.create(ctx, fmt.Sprintf("lost-%d", i))
		if err != nil {
			return nil, err
		}
		l := &Lost{Account: a, contact: p.Accounts[i%len(p.Accounts)]}
		if err := p.bind(ctx, a, l.contact); err != nil {
			return nil, err
		}
		if l.device, err = newDevice(rand.Reader, 0); err != nil {
			return nil, err
		}
		return l, nil
	})
}

// bind makes an account the only contact of another, up to the committed epoch.
func (p *Population) bind(ctx context.Context, a, contact *Account) error {
	d := a.devices[0]
	// An append without entries is answered with the server's receipt.
	answer, err := p.append(ctx, a, d, &apiv1.AppendRequest{})
	if err != nil {
		return err
	}
	if len(answer.Receipts) != 1 {
		return fmt.Errorf("load: the server gives %d receipts", len(answer.Receipts))
	}
	byServer := &recordv1.ShareReceipt{}
	if err := canonical.Unmarshal(answer.Receipts[0], byServer); err != nil {
		return err
	}
	key, err := seed.ShareKey(p.origin.member, a.ID, 1, 1)
	if err != nil {
		return err
	}
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: 1}
	byMember := &recordv1.ShareReceipt{Epoch: 1, Holder: holder, Signature: key.Sign(ledger.ReceiptContext(a.ID, 1, holder, key.PublicKey().Bytes()))}
	theirs := contact.devices[0]
	bound := &recordv1.ContactBound{
		Epoch: 1, Member: 1, Generation: 1, SealedName: make([]byte, ledger.ContactNameSize),
		Contact: &recordv1.Contact{Account: contact.ID[:], Devices: []*recordv1.ContactDevice{
			{SignKey: theirs.sign.PublicKey().Bytes(), SealKey: theirs.seal.PublicKey().Bytes()},
		}},
	}
	request := &apiv1.AppendRequest{}
	for _, record := range []proto.Message{byServer, bound, byMember, &recordv1.EpochCommitted{Epoch: 1}} {
		now := time.Now()
		var proposal *recordv1.Proposal
		if record == proto.Message(bound) {
			if proposal, _, err = a.confirmed(rand.Reader, d, now, record); err != nil {
				return err
			}
		}
		entry, err := a.entry(d, now, proposal, record)
		if err != nil {
			return err
		}
		request.Entries = append(request.Entries, entry.Bytes())
	}
	_, err = p.append(ctx, a, d, request)
	return err
}

// newcomer is who the new device is before it is in the ledger.
func (l *Lost) newcomer() api.Identity { return api.Identity{Account: &l.ID, Key: l.device.sign} }

// id is the recovery's.
func (l *Lost) id() []byte {
	id := l.request.ID()
	return id[:]
}

// ask makes the request that the new device starts the recovery with.
func (l *Lost) ask(server []byte) error {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	signed, err := ledger.NewRecoveryRequest(&recordv1.RecoveryRequest{
		Account: l.ID[:], Nonce: nonce, SignKey: l.device.sign.PublicKey().Bytes(), SealKey: l.device.seal.PublicKey().Bytes(),
		ConfirmKey: l.device.confirm.PublicKey().Bytes(), Time: uint64(time.Now().UnixMilli()), Server: server,
	}, l.device.sign)
	if err != nil {
		return err
	}
	l.request, err = ledger.ParseRecoveryRequest(signed)
	return err
}

var errRelease = errors.New("the server did not release what it has")
