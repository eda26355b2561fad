package systemtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/sheet"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

func yes() *bool {
	b := true
	return &b
}

// printSheet returns the sheet that is to be printed.
func (p *person) printSheet() *sheet.Sheet {
	p.w.t.Helper()
	page, err := p.PrintSheet(context.Background())
	if err != nil {
		p.w.t.Fatalf("print of %s: %s", p.name, explained(err))
	}
	return page
}

func (p *person) confirmSheet(words string) *device.SheetConfirmed {
	p.w.t.Helper()
	r, err := p.ConfirmSheet(context.Background(), words)
	if err != nil {
		p.w.t.Fatalf("confirm of %s: %s", p.name, explained(err))
	}
	return r
}

// printed makes an account with three contacts and a printed sheet in the
// committed epoch 2, and returns the sheet.
func (w *world) printed(name string) (*person, []*person, *sheet.Sheet) {
	w.t.Helper()
	owner, contacts := w.household(name)
	owner.add("site", "secret")
	owner.sync()
	if r := owner.rotate(device.RotateOptions{Printed: yes()}); !r.Sheet || r.CommitFrom.IsZero() {
		w.t.Fatalf("%+v", r)
	}
	page := owner.printSheet()
	if r := owner.confirmSheet(page.Words); r.Epoch != 2 || r.From.IsZero() {
		w.t.Fatalf("%+v", r)
	}
	syncAll(contacts...)
	w.wait(waiting + time.Minute)
	if s := owner.sync(); len(s.Committed) != 1 || s.Committed[0] != 2 {
		w.t.Fatalf("%+v", s)
	}
	return owner, contacts, page
}

func TestTheSheetBringsEverythingBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, _, page := w.printed("ann")
	if page.Epoch != 2 || page.Quorum != 2 || page.Members != 3 || page.Waiting != waiting || page.Name != "ann" || page.Server == "" {
		t.Fatalf("%+v", page)
	}
	st := ann.status()
	if !st.Recoverable || !strings.Contains(st.Verdict, "or the printed sheet") || strings.Contains(strings.Join(st.Warnings, "\n"), "typed back") {
		t.Fatalf("%+v", st)
	}
	if proof := st.Shares[len(st.Shares)-1]; proof.Kind != "sheet" || !proof.Has || proof.At.IsZero() {
		t.Fatalf("%+v", proof)
	}
	_, err := ann.PrintSheet(ctx)
	wantCode(t, err, device.CodeFailed) // the paper alone has it
	ann.add("later", "than the sheet")
	ann.close() // and lost

	anew, started := w.newDevice("ann")
	r, err := anew.AddSheet(ctx, page.Words)
	if err != nil || !r.Sheet || r.Ready || strings.Contains(r.Missing, "approvals") {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = anew.RecoverFinish(ctx, device.FinishOptions{})
	if !errors.Is(err, api.ErrPeriodNotOver) {
		t.Fatalf("before the period: %v", err)
	}
	w.wait(started.Ends.Sub(started.Started) + time.Minute)
	if r, err := anew.RecoverStatus(ctx); err != nil || !r.Ready {
		t.Fatalf("%+v, %v", r, err)
	}
	h, f := anew.finish()
	h.wantItems(t, map[string]string{"site": "secret", "later": "than the sheet"})
	if f.OldEpoch != 2 || f.Epoch != 3 || !f.Sheet || len(f.Bound) != 3 || len(f.Discarded) != 0 {
		t.Fatalf("%+v", f)
	}
	anew.wantSecret("site", "secret")
	next := anew.printSheet()
	if next.Epoch != 3 || next.Words == page.Words {
		t.Errorf("%+v", next)
	}
	_, err = anew.ConfirmSheet(ctx, page.Words)
	wantCode(t, err, device.CodeFailed)
	anew.confirmSheet(next.QR)
}

// Sheet and device do without the server.
func TestTheSheetAndADeviceBringEverythingBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, _, page := w.printed("ann")
	ann.close()
	w.stopServer()
	h, err := home.OpenReadOnly(ann.dir)
	must(t, err)
	defer func() { _ = h.Close() }()
	must(t, h.Unlock([]byte(passphrase)))
	own, err := recovery.FromHome(h)
	must(t, err)
	defer own.Erase()
	share, err := recovery.ParseShare(page.QR)
	must(t, err)
	seedShare, err := own.SeedShare(2)
	must(t, err)
	keys, report, err := recovery.Rebuild([]*slip39.Share{share, seedShare}, own.State(), 2)
	if err != nil {
		t.Fatalf("%v\n%v", err, report)
	}
	backup := recovery.NewBackup(own.State(), 2, keys)
	defer backup.Erase()
	opened, err := recovery.Open(context.Background(), own.State(), 2, own, backup)
	if err != nil || len(opened) != 1 || opened[0].Secret.GetLogin().GetPassword() != "secret" {
		t.Fatalf("%d, %v", len(opened), err)
	}
	// The sheet alone does not.
	if _, _, err := recovery.Rebuild([]*slip39.Share{share}, own.State(), 2); !errors.Is(err, recovery.ErrNotEnough) {
		t.Errorf("the sheet alone: %v", err)
	}
}

func TestOtherWordsAreNoSheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts, page := w.printed("ann")
	bob, _, foreign := w.printed("bob")
	bob.close()
	held, err := contacts[0].Held(ctx)
	must(t, err)
	ann.rotate(device.RotateOptions{})
	next := ann.printSheet()
	ann.confirmSheet(next.Words)
	syncAll(contacts...)
	w.wait(waiting + time.Minute)
	ann.sync()
	if ann.status().Epoch != 3 {
		t.Fatalf("%+v", ann.status())
	}
	ann.close()

	anew, started := w.newDevice("ann")
	for name, test := range map[string]struct {
		words, says string
		code        device.Code
	}{
		"nothing":            {"", "92", device.CodeUsage},
		"a contact's share":  {held[0].Words, "a share on paper", device.CodeUsage},
		"the share alone":    {strings.Join(strings.Fields(next.Words)[:59], " "), "alone", device.CodeUsage},
		"a wrong word":       {strings.Replace(next.Words, " ", " x", 1), "word 2", device.CodeUsage},
		"of an older epoch":  {page.Words, "not the printed sheet of ann in epoch 3", device.CodeRefused},
		"of another account": {foreign.Words, "not the printed sheet of ann in epoch 3", device.CodeRefused},
	} {
		_, err := anew.AddSheet(ctx, test.words)
		wantCode(t, err, test.code)
		if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = anew.AddPaperShare(ctx, next.Words)
	wantCode(t, err, device.CodeUsage)
	if r, err := anew.RecoverStatus(ctx); err != nil || r.Sheet || r.Approvals != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = anew.AddSheet(ctx, next.Words)
	must(t, err)
	_, err = anew.AddSheet(ctx, page.Words) // and the good one stays
	wantCode(t, err, device.CodeRefused)
	w.wait(started.Ends.Sub(started.Started) + time.Minute)
	h, _ := anew.finish()
	h.wantItems(t, map[string]string{"site": "secret"})
}

// A veto voids the sheet's approval like every other; its words can be typed again,
// and wait again.
func TestTheSheetIsVetoed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts, page := w.printed("ann")
	thief, started := w.newDevice("ann")
	_, err := thief.AddSheet(ctx, page.Words)
	must(t, err)
	wantSheet := func(want bool) {
		t.Helper()
		if all, err := ann.Requests(ctx); err != nil || len(all) != 1 || all[0].Sheet != want {
			t.Fatalf("the owner sees %+v, %v", all, err)
		}
	}
	wantSheet(true)
	must(t, ann.Veto(ctx, started.Request.String()))
	wantSheet(false)
	w.wait(waiting + time.Minute)
	_, err = thief.RecoverFinish(ctx, device.FinishOptions{})
	if !errors.Is(err, api.ErrVetoed) {
		t.Fatalf("after a veto: %v", err)
	}
	r, err := thief.AddSheet(ctx, page.Words)
	if err != nil || !r.Sheet || r.Vetoes != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	// A new epoch makes the sheet worthless before that period is over.
	without := false
	ann.rotate(device.RotateOptions{Printed: &without})
	syncAll(contacts...)
	if s := ann.sync(); len(s.Committed) != 1 {
		t.Fatalf("%+v", s)
	}
	w.wait(waiting + time.Minute)
	_, err = thief.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet)
	_, err = thief.AddSheet(ctx, page.Words)
	wantCode(t, err, device.CodeRefused)
	ann.wantSecret("site", "secret")
}

// Whoever finds an unlocked device gets no sheet out of it without the second
// factor: neither a new one, nor one that waits to be printed.
func TestAThiefPrintsNoSheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, _ := w.household("ann")
	ann.rotate(device.RotateOptions{Printed: yes()})
	page := ann.printSheet()
	ann.close()
	options := w.options()
	options.ConfirmPassphrase = func() ([]byte, error) { return []byte("a guess"), nil }
	d, err := device.Open(ctx, ann.dir, []byte(passphrase), options)
	must(t, err)
	ann.Device = d
	_, err = ann.PrintSheet(ctx)
	wantCode(t, err, device.CodePassphrase)
	without := false
	for _, printed := range []*bool{yes(), &without} {
		_, err = ann.Rotate(ctx, device.RotateOptions{Printed: printed, Quorum: 3, Members: 3})
		wantCode(t, err, device.CodePassphrase)
	}
	ann.close()

	// Nor does the unlocked directory have it readable.
	h, err := home.OpenReadOnly(ann.dir)
	must(t, err)
	must(t, h.Unlock([]byte(passphrase)))
	b, err := h.Private("sheet")
	must(t, err)
	must(t, h.Close())
	share, err := recovery.ParseShare(page.Words)
	must(t, err)
	for _, secret := range [][]byte{[]byte(page.Words), share.Value()} {
		if bytes.Contains(b, secret) {
			t.Error("the sheet is kept in the clear")
		}
	}
	ann.reopen()
	if again := ann.printSheet(); again.Words != page.Words {
		t.Error("another sheet is shown a second time")
	}
}

// An older copy of the directory does not have the sheet: then the epoch is
// prepared anew.
func TestALostSheetIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, _ := w.household("ann")
	ann.close()
	older := filepath.Join(t.TempDir(), "older")
	copyDir(t, ann.dir, older)
	ann.reopen()
	ann.rotate(device.RotateOptions{Printed: yes()})
	page := ann.printSheet()
	if r := ann.rotate(device.RotateOptions{}); !r.Again || r.Epoch != 2 {
		t.Fatalf("%+v", r)
	}
	ann.close()
	ann.dir = older
	ann.reopen()
	ann.sync()
	_, err := ann.PrintSheet(context.Background())
	wantCode(t, err, device.CodeFailed)
	_, err = ann.ConfirmSheet(context.Background(), page.Words)
	wantCode(t, err, device.CodeFailed)
	if r := ann.rotate(device.RotateOptions{}); r.Again || r.Epoch != 3 || !r.Sheet {
		t.Fatalf("%+v", r)
	}
	if next := ann.printSheet(); next.Epoch != 3 || next.Words == page.Words {
		t.Errorf("%+v", next)
	}
}

// From the first split on: the account is not recoverable by the sheet alone, and
// the sheet that was typed back is erased.
func TestInitWithASheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", func(i *device.InitOptions) { i.Printed = true })
	page := ann.printSheet()
	st := ann.status()
	if st.Recoverable || page.Epoch != 1 || !strings.Contains(strings.Join(st.Warnings, "\n"), "not typed back") {
		t.Fatalf("%+v", st)
	}
	kept := filepath.Join(ann.dir, "private", "sheet")
	if _, err := os.Stat(kept); err != nil {
		t.Fatal(err)
	}
	_, err := ann.ConfirmSheet(ctx, strings.Join(strings.Fields(page.Words)[:59], " "))
	wantCode(t, err, device.CodeFailed)
	ann.confirmSheet(strings.ToUpper(page.Words))
	if _, err := os.Stat(kept); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the words were typed back: %v", err)
	}
	ann.confirmSheet(page.Words) // a second time changes nothing
	if ann.status().Recoverable {
		t.Error("recoverable without a quorum of contacts")
	}
}

// Wherever a rotation is cut, the sheet that the ledger names can be printed, and
// none that it does not name is left.
func TestASheetSurvivesEveryCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	ann.sync()
	ann.close()
	for _, c := range contacts {
		c.close()
	}
	data := w.backup()
	w.eachFault(t, func(t *testing.T, f *fault) bool {
		w.restore(data)
		owner := &person{w: w, name: "ann", dir: filepath.Join(t.TempDir(), "home")}
		copyDir(t, ann.dir, owner.dir)
		d, err := device.Open(ctx, owner.dir, []byte(passphrase), w.faulty(f))
		must(t, err)
		_, err = d.Rotate(ctx, device.RotateOptions{Printed: yes()})
		failed := err != nil
		must(t, d.Close())
		owner.reopen()
		defer owner.close()
		owner.sync() // finds out what stands
		before, err := owner.PrintSheet(ctx)
		r := owner.rotate(device.RotateOptions{Printed: yes()})
		page := owner.printSheet()
		if r.Again != (err == nil) || r.Again && page.Words != before.Words || !r.Sheet {
			t.Fatalf("%+v, %v", r, err)
		}
		owner.confirmSheet(page.Words)
		if _, err := os.Stat(filepath.Join(owner.dir, "private", "sheet")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a sheet is left: %v", err)
		}
		return failed
	})
}

// Another device confirms that a sheet is made, and is told so; it has none of it.
func TestAnotherDeviceHasNotTheSheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	item, done := w.waits(phone, func() error {
		_, err := laptop.Rotate(ctx, device.RotateOptions{Printed: yes()})
		return err
	})
	if !strings.Contains(strings.Join(item.Look, "\n"), "printed sheet") {
		t.Errorf("the phone is asked %+v", item)
	}
	phone.confirmPending(item.ID)
	withConfirms(t, func() {
		if err := <-done; err != nil {
			t.Error(explained(err))
		}
	}, phone)
	phone.sync()
	_, err := phone.PrintSheet(ctx)
	wantCode(t, err, device.CodeFailed)
	page := laptop.printSheet()
	_, err = phone.ConfirmSheet(ctx, page.Words)
	wantCode(t, err, device.CodeFailed)
	if !strings.Contains(err.Error(), "device 1 made") {
		t.Error(err)
	}
	laptop.confirmSheet(page.Words)
	phone.sync()
	if warnings := strings.Join(phone.status().Warnings, "\n"); strings.Contains(warnings, "typed back") {
		t.Error(warnings)
	}
}
