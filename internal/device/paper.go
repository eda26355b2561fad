package device

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/sheet"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// PaperResult is a share to be printed or written down. Words and QR are secret:
// print them and keep nothing.
type PaperResult struct {
	secretive

	Epoch      uint64
	Member     uint64    // from 1
	Quorum     int       // how many shares like this one bring the account back
	CountsFrom time.Time // when the binding counts
	Words      string    // SLIP-39 mnemonic
	QR         string    // text of the QR code
	Page       *sheet.Sheet
	Again      bool // it was bound before, and its words have not been typed back
}

// BindPaper makes a sheet of paper a contact: it binds the lowest free share to
// paper, with the second factor, and puts its two halves together to be printed.
// [Device.ConfirmPaper] ends it. Until then the same share is shown again; nobody
// keeps it afterwards but the paper. The name, which may be empty, says which paper
// it is, or where it is kept.
func (d *Device) BindPaper(ctx context.Context, name string) (*PaperResult, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	name = strings.TrimSpace(name)
	if err := checkContactName(name); err != nil {
		return nil, err
	}
	result := &PaperResult{Again: openPaper(targetEpoch(d.home.State())) != nil}
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		e := targetEpoch(s)
		result.Epoch, result.Quorum = e.Number, e.Quorum()
		if m := openPaper(e); m != nil {
			if called, readable := d.boundName(s, m.Binding); name != "" && readable && name != called {
				return nil, failure(CodeUsage, nil, "type its words back first with zeropass contact paper confirm; its name stays",
					"share %d is on paper already, called %q", m.Number, called)
			}
			result.Member = m.Number
			return nil, nil
		}
		m, err := freeMember(s)
		if err != nil {
			return nil, err
		}
		result.Member = m.Number
		bound := &recordv1.ContactBound{Epoch: e.Number, Member: m.Number}
		if err := d.nameContact(s, bound, name); err != nil {
			return nil, err
		}
		return []transaction{{records: []proto.Message{bound}}}, nil
	})
	if err != nil {
		return nil, explain(err, "bind a share to paper")
	}
	share, err := d.paperShare(ctx, result.Epoch, result.Member)
	if err != nil {
		return nil, explain(err, "put the share for the paper together")
	}
	defer share.Erase()
	result.CountsFrom = d.home.State().CountsAt(result.Epoch, result.Member)
	result.Words, result.QR = share.Mnemonic(), recovery.QRText(share)
	e, _ := d.home.State().Epoch(result.Epoch)
	result.Page = d.sheetPage(e, result.Words)
	result.Page.Member, result.Page.CountFrom, result.Page.QR = result.Member, result.CountsFrom, result.QR
	return result, nil
}

// openPaper returns a member that is bound to paper and has given no receipt.
func openPaper(e *ledger.Epoch) *ledger.Member {
	for i := range e.Members {
		if m := &e.Members[i]; m.Paper && !m.Receipt {
			return m
		}
	}
	return nil
}

// paperShare puts the server's half and the devices' half of a waiting share
// together.
func (d *Device) paperShare(ctx context.Context, epoch, member uint64) (*slip39.Share, error) {
	s := d.home.State()
	e, _ := s.Epoch(epoch)
	waiting := e.Record.Members[member-1].Waiting
	g, err := d.generation(s, waiting.Generation)
	if err != nil {
		return nil, err
	}
	if g.DeviceShare == nil {
		return nil, errors.New("device: no device has its half any more, because the account was recovered since")
	}
	place := credential.WaitingBinding(d.keys.Account, epoch, member, e.Author)
	own, err := credential.OpenDeviceHalf(g.DeviceShare, place, waiting)
	if err != nil {
		return nil, err
	}
	defer clear(own)
	answer, err := d.client.PaperHalf(ctx, d.identity(), &apiv1.PaperHalfRequest{Epoch: epoch, Member: member})
	if err != nil {
		return nil, err
	}
	theirs, err := credential.ContactHalf{
		Account: d.keys.Account, Epoch: epoch, Member: member, Contact: d.keys.Account, Party: credential.Server,
	}.Open(d.keys.Seal, answer.Sealed)
	if err != nil {
		return nil, errors.Join(client.ErrDishonest, err)
	}
	defer clear(theirs)
	binary, err := credential.Combine(place, waiting, own, theirs)
	if err != nil {
		return nil, err
	}
	defer clear(binary)
	share, err := slip39.ParseBinary(binary)
	if err != nil {
		return nil, err
	}
	if !d.isMemberShare(share, e, member) {
		share.Erase()
		return nil, errors.New("device: the halves give a share that is not this member's")
	}
	return share, nil
}

// isMemberShare says whether a share is the one whose key the epoch names for the
// member.
func (d *Device) isMemberShare(share *slip39.Share, e *ledger.Epoch, member uint64) bool {
	m, ok := e.Member(member)
	if !ok {
		return false
	}
	key, err := seed.ShareKey(share, d.keys.Account, e.Number, member)
	if err != nil {
		return false
	}
	defer key.Erase()
	return key.PublicKey().Equal(m.ShareKey)
}

// ConfirmPaper takes the words of a printed share, typed back from the paper, for
// its receipt: from then on the paper alone has the share.
func (d *Device) ConfirmPaper(ctx context.Context, words string) (*PaperConfirmed, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	share, err := recovery.ParseShare(words)
	if err != nil {
		return nil, failure(CodeFailed, err, "compare them with the paper and type them again", "these are not the words of a share: %v", err)
	}
	defer share.Erase()
	result := &PaperConfirmed{}
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		for _, e := range openEpochs(s) {
			for _, m := range e.Members {
				if !m.Paper || !d.isMemberShare(share, e, m.Number) {
					continue
				}
				result.Epoch, result.Member = e.Number, m.Number
				if m.Receipt {
					return nil, nil
				}
				receipt, err := d.paperReceipt(share, e, m.Number)
				if err != nil {
					return nil, err
				}
				return []transaction{{records: []proto.Message{receipt}}}, nil
			}
		}
		return nil, failure(CodeFailed, nil, "print the share again with the words on it", "these are the words of another share")
	})
	if err != nil {
		return nil, explain(err, "take the receipt of the paper")
	}
	return result, nil
}

// PaperConfirmed is a sheet of paper that has proved its share.
type PaperConfirmed struct {
	Epoch  uint64
	Member uint64 // from 1
}

// paperReceipt is the receipt of a share that was typed back.
func (d *Device) paperReceipt(share *slip39.Share, e *ledger.Epoch, member uint64) (*recordv1.ShareReceipt, error) {
	key, err := seed.ShareKey(share, d.keys.Account, e.Number, member)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: member}
	return &recordv1.ShareReceipt{
		Epoch:     e.Number,
		Holder:    holder,
		Signature: key.Sign(ledger.ReceiptContext(d.keys.Account, e.Number, holder, key.PublicKey().Bytes())),
	}, nil
}
