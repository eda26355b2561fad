package device

import (
	"bytes"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/sheet"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// sheetState is the sheets that are between the split that made them and their
// words typed back.
type sheetState struct{ Sheets []keptSheet }

type keptSheet struct {
	Key       []byte // public part of the approval key, as the epoch names it
	ShareHash []byte // SHA-256 of the binary share
	Sealed    []byte // the words, under the confirm key
}

const sheetFile = "sheet"

// keepSheet keeps a sheet until its words are typed back, before the entry that
// names it can be sent. The device's own share and a sheet open everything: so the
// sheet is kept under the second factor, which an unlocked device alone has not.
func (d *Device) keepSheet(made *seed.Sheet) error {
	words, err := recovery.SheetText(made)
	if err != nil {
		return err
	}
	hash, err := seed.ShareHash(made.Share)
	if err != nil {
		return err
	}
	public := made.Key.PublicKey().Bytes()
	key, err := d.sheetKey()
	if err != nil {
		return err
	}
	defer key.Erase()
	sealed, err := key.Seal(d.o.Rand, d.sheetContext(public), []byte(words))
	if err != nil {
		return err
	}
	kept, err := d.keptSheets()
	if err != nil {
		return err
	}
	kept.Sheets = append(kept.Sheets, keptSheet{Key: public, ShareHash: hash[:], Sealed: sealed})
	return d.save(sheetFile, kept)
}

// sheetKey derives a symmetric key from the confirm key, in a context of its own,
// so that neither use says anything about the other.
func (d *Device) sheetKey() (*aead.Key, error) {
	confirm, err := d.confirmKey()
	if err != nil {
		return nil, err
	}
	secret := confirm.Bytes()
	defer clear(secret)
	return aead.DeriveKey(secret, signing.NewContext("sheet-key").Bytes(d.keys.Account[:]))
}

func (d *Device) sheetContext(public []byte) *signing.Context {
	return signing.NewContext("kept-sheet").Bytes(d.keys.Account[:]).Bytes(public)
}

func (d *Device) keptSheets() (*sheetState, error) {
	kept, err := load[sheetState](d, sheetFile)
	if kept == nil && err == nil {
		kept = &sheetState{}
	}
	return kept, err
}

// keptFor returns the kept sheet of an epoch, nil if this device has none.
func (d *Device) keptFor(e *ledger.Epoch) (*keptSheet, error) {
	kept, err := d.keptSheets()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(kept.Sheets, func(k keptSheet) bool { return bytes.Equal(k.Key, e.Record.SheetKey) })
	if i < 0 {
		return nil, nil
	}
	return &kept.Sheets[i], nil
}

// pruneSheets erases the kept sheets that were typed back, and those of epochs
// that are not open: given up, replaced, or never made.
func (d *Device) pruneSheets() error {
	kept, err := d.keptSheets()
	if err != nil || len(kept.Sheets) == 0 {
		return err
	}
	// The entry that names a sheet may be on its way.
	if journal, err := d.home.Journal(); err != nil || journal != nil {
		return err
	}
	n := len(kept.Sheets)
	kept.Sheets = slices.DeleteFunc(kept.Sheets, func(k keptSheet) bool {
		for _, e := range openEpochs(d.home.State()) {
			if bytes.Equal(k.Key, e.Record.SheetKey) && !e.SheetReceipt {
				return false
			}
		}
		return true
	})
	switch len(kept.Sheets) {
	case n:
		return nil
	case 0:
		return d.home.RemovePrivate(sheetFile)
	}
	return d.save(sheetFile, kept)
}

// unprovedSheet returns the open epoch whose sheet was not typed back, the newest
// first; nil if there is none.
func unprovedSheet(s *ledger.State) *ledger.Epoch {
	open := openEpochs(s)
	for _, e := range slices.Backward(open) {
		if e.SheetKey != nil && !e.SheetReceipt {
			return e
		}
	}
	return nil
}

// PrintSheet returns the printed sheet of the newest epoch, which is worth a
// quorum of contacts, to be printed. It needs the second factor, on the device
// that made the epoch. [Device.ConfirmSheet] ends it; until then the same sheet is
// shown again.
func (d *Device) PrintSheet(ctx context.Context) (*sheet.Sheet, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	s := d.home.State()
	e := unprovedSheet(s)
	if e == nil {
		if target := targetEpoch(s); target != nil && target.SheetKey != nil {
			return nil, failure(CodeFailed, nil, "if the paper is lost, zeropass rotate makes a new one, in a new epoch", "the sheet of epoch %d was typed back: the paper alone has it now", target.Number)
		}
		return nil, failure(CodeNotFound, nil, "zeropass rotate --printed makes one", "%s has no printed sheet", d.Name())
	}
	kept, err := d.keptHere(e)
	if err != nil {
		return nil, err
	}
	key, err := d.sheetKey()
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	words, err := key.Open(d.sheetContext(kept.Key), kept.Sealed)
	if err != nil {
		return nil, explain(err, "open the sheet")
	}
	defer clear(words)
	page := d.sheetPage(e, string(words))
	page.QR = recovery.SheetQRText(page.Words)
	if page.CountFrom, err = s.CommitFrom(e.Number); err != nil {
		return nil, explain(err, "print the sheet")
	}
	return page, ctx.Err()
}

// keptHere returns the kept sheet of an epoch, and otherwise says where it is.
func (d *Device) keptHere(e *ledger.Epoch) (*keptSheet, error) {
	kept, err := d.keptFor(e)
	if err != nil {
		return nil, explain(err, "read the sheet")
	}
	if kept == nil && d.mayHaveSheet(e) {
		return nil, failure(CodeFailed, nil, "do it there", "device %d made the sheet of epoch %d, and keeps it until its words are typed back", e.Author, e.Number)
	}
	if kept == nil {
		return nil, failure(CodeFailed, nil, "zeropass rotate makes a new one, in a new epoch", "the sheet of epoch %d was made by device %d, and is lost", e.Number, e.Author)
	}
	return kept, nil
}

// mayHaveSheet says whether another device may keep an epoch's sheet.
func (d *Device) mayHaveSheet(e *ledger.Epoch) bool {
	if e.Author == d.keys.Device {
		return false
	}
	author, ok := d.home.State().Device(e.Author)
	return ok && author.Status != ledger.Revoked
}

// lostSheet returns the prepared epoch if its sheet was never typed back and
// nobody keeps it, so that it cannot be printed; 0 if that is not so.
func (d *Device) lostSheet(s *ledger.State) (uint64, error) {
	e := s.Prepared()
	if e == nil || e.SheetKey == nil || e.SheetReceipt || d.mayHaveSheet(e) {
		return 0, nil
	}
	kept, err := d.keptFor(e)
	if err != nil || kept != nil {
		return 0, err
	}
	return e.Number, nil
}

// sheetPage is a page of an epoch, without member and code.
func (d *Device) sheetPage(e *ledger.Epoch, words string) *sheet.Sheet {
	return &sheet.Sheet{
		Account: d.keys.Account, Name: d.Name(), Epoch: e.Number, Quorum: e.Quorum(), Members: len(e.Members),
		Waiting: e.WaitingPeriod(), Server: d.where().Url, Printed: d.o.Now(), Words: words,
	}
}

// SheetConfirmed is a printed sheet whose words were typed back.
type SheetConfirmed struct {
	Epoch uint64
	From  time.Time // when the epoch can be committed at the earliest; zero if it was, or nothing waits
}

// ConfirmSheet takes the words of the printed sheet, typed back from the paper, for
// its receipt, and erases what is kept of it: from then on the paper alone has it.
func (d *Device) ConfirmSheet(ctx context.Context, words string) (*SheetConfirmed, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	typed, err := recovery.ParseSheet(words)
	if err != nil {
		return nil, failure(CodeFailed, err, "compare them with the sheet and type them again", "these are not the words of a sheet: %v", err)
	}
	defer typed.Erase()
	result := &SheetConfirmed{}
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		for _, e := range openEpochs(s) {
			if e.SheetKey == nil || !typed.Key.PublicKey().Equal(e.SheetKey) {
				continue
			}
			if e.SheetReceipt && unprovedSheet(s) != nil {
				continue // the old sheet, where the new one is wanted
			}
			result.Epoch = e.Number
			if e.SheetReceipt {
				return nil, nil
			}
			kept, err := d.keptHere(e)
			if err != nil {
				return nil, err
			}
			if hash, err := seed.ShareHash(typed.Share); err != nil || !bytes.Equal(hash[:], kept.ShareHash) {
				return nil, failure(CodeFailed, err, "print the sheet again with zeropass sheet print, and take that one", "the share on this sheet is another one")
			}
			return []transaction{{records: []proto.Message{d.sheetReceipt(typed.Key, e)}}}, nil
		}
		return nil, failure(CodeFailed, nil, "look at the epoch and the account on the sheet; zeropass sheet print shows the one that is wanted", "this is another sheet: of an older epoch, or of another account")
	})
	if err == nil {
		err = d.pruneSheets()
	}
	if err != nil {
		return nil, explain(err, "take the receipt of the sheet")
	}
	if from, err := d.home.State().CommitFrom(result.Epoch); err == nil && from.After(d.o.Now()) {
		result.From = from
	}
	return result, nil
}

func (d *Device) sheetReceipt(key *signing.PrivateKey, e *ledger.Epoch) *recordv1.ShareReceipt {
	holder := &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET}
	return &recordv1.ShareReceipt{
		Epoch: e.Number, Holder: holder,
		Signature: key.Sign(ledger.ReceiptContext(d.keys.Account, e.Number, holder, e.Record.SheetKey)),
	}
}

// sheetProof says whether an epoch's sheet was typed back. A sheet signs nothing
// later, so that it never gets stale.
func (d *Device) sheetProof(e *ledger.Epoch) Proof {
	p := Proof{Kind: "sheet", Name: "the printed sheet", Epoch: e.Number, Has: e.SheetReceipt}
	if p.Has {
		p.At = e.SheetReceiptAt.Time
	}
	return p
}
