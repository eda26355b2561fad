package systemtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
)

const day = 24 * time.Hour

// newDevice starts the recovery of an account on a new device.
func (w *world) newDevice(name string) (*person, *device.RecoveryResult) {
	w.t.Helper()
	p := &person{w: w, name: name, dir: filepath.Join(w.t.TempDir(), name)}
	d, r, err := device.RecoverStart(context.Background(), w.options(), device.RecoverOptions{
		Dir: p.dir, ServerURL: w.url(), Name: name, UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	})
	if err != nil {
		w.t.Fatalf("start of the recovery of %s: %s", name, explained(err))
	}
	p.Device = d
	w.t.Cleanup(p.close)
	return p, r
}

// approve has a contact approve the one request that it sees.
func (w *world) approve(contact *person, phrase string) *device.ApproveResult {
	w.t.Helper()
	r, err := contact.Approve(context.Background(), device.ApproveOptions{Phrase: phrase})
	if err != nil {
		w.t.Fatalf("%s approves: %s", contact.name, explained(err))
	}
	return r
}

// request is the only one that somebody sees.
func (w *world) request(p *person) device.RecoveryRequest {
	w.t.Helper()
	all, err := p.Requests(context.Background())
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%s sees %d requests, %v", p.name, len(all), err)
	}
	return all[0]
}

// approvals is how many count by the server's word.
func (w *world) approvals(recovering *person) int {
	w.t.Helper()
	r, err := recovering.RecoverStatus(context.Background())
	if err != nil {
		w.t.Fatal(explained(err))
	}
	return r.Approvals
}

func TestAnApprovalLeavesAfterTheContactsOwnWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob", "cleo")
	w.befriend(owner, contacts...)
	for _, c := range contacts {
		c.sync()
	}
	ann := contacts[0]
	fresh, started := w.newDevice("olivia")
	w.wait(day) // ann looks a day later, and her own wait starts then
	seen := w.request(ann)
	switch {
	case seen.ID != started.Request, seen.Account != owner.Account(), seen.Owner != "olivia", seen.Own:
		t.Errorf("%+v", seen)
	case seen.Phrase != started.Phrase:
		t.Errorf("the new device shows %q, ann's %q", started.Phrase, seen.Phrase)
	case seen.Decision != device.Undecided || seen.Cannot != "" || seen.Over:
		t.Errorf("%s, %q", seen.Decision, seen.Cannot)
	case seen.Due.Sub(w.now()).Round(time.Minute) != 3*day:
		t.Errorf("due in %v", seen.Due.Sub(w.now()))
	}

	_, err := ann.Approve(ctx, device.ApproveOptions{Phrase: strings.ToUpper(seen.Phrase) + " zebra"})
	if !errors.Is(err, device.ErrPhrase) {
		t.Fatalf("other words: %v", err)
	}
	_, err = ann.Approve(ctx, device.ApproveOptions{})
	wantCode(t, err, device.CodeUsage)
	_, err = ann.Approve(ctx, device.ApproveOptions{Request: "ffffffff", Phrase: seen.Phrase})
	wantCode(t, err, device.CodeNotFound)
	if d := w.request(ann).Decision; d != device.Undecided {
		t.Fatalf("decided %s", d)
	}

	approved := w.approve(ann, strings.ToUpper(seen.Phrase))
	if approved.Sent || !approved.Due.Equal(seen.Due) {
		t.Errorf("%+v", approved)
	}
	if held, err := ann.Held(ctx); err != nil || len(held) != 1 || held[0].Words != "" || held[0].QR != "" || !held[0].ShownFrom.Equal(seen.Due) {
		t.Errorf("words are withheld as long as the approval: %v, %v", held, err)
	}
	w.wait(3*day - time.Minute)
	ann.reopen()
	ann.sync()
	if n := w.approvals(fresh); n != 0 || w.request(ann).Decision != device.Approved {
		t.Fatalf("%d approvals a minute before", n)
	}
	w.wait(2 * time.Minute)
	if r := ann.sync(); len(r.Requests) != 1 || r.Requests[0].Decision != device.Sent {
		t.Errorf("%+v", r)
	}
	if n := w.approvals(fresh); n != 1 {
		t.Errorf("%d approvals", n)
	}
	if held, err := ann.Held(ctx); err != nil || held[0].Words == "" {
		t.Errorf("afterwards they are shown: %v", err)
	}
	err = ann.Deny(ctx, "")
	wantCode(t, err, device.CodeRefused)
}

func TestWordsAreWithheldFromAContactWhoHasNotSynced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	w.newDevice("olivia")
	shows := func(p *person) bool {
		t.Helper()
		held, err := p.Held(ctx)
		if err != nil || len(held) != 1 {
			t.Fatalf("%s: %d shares, %v", p.name, len(held), err)
		}
		return held[0].Words != ""
	}
	if shows(contacts[0]) {
		t.Error("ann's words are shown")
	}
	w.stopServer()
	if shows(contacts[0]) {
		t.Error("ann's words are shown once the server is away")
	}
	if !shows(contacts[1]) {
		t.Error("without the server, and without having seen a request, they are shown")
	}
	w.wait(3*day + time.Minute)
	if !shows(contacts[0]) {
		t.Error("ann's words are withheld for ever")
	}
}

func TestAVetoVoidsApprovals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob", "cleo")
	w.befriend(owner, contacts...)
	ann, bob, cleo := contacts[0], contacts[1], contacts[2]
	fresh, started := w.newDevice("olivia")
	for _, c := range contacts {
		c.sync()
	}
	w.wait(3*day + time.Minute)
	w.approve(ann, started.Phrase) // leaves at once
	w.approve(bob, started.Phrase)
	if n := w.approvals(fresh); n != 2 {
		t.Fatalf("%d approvals", n)
	}

	wantCode(t, ann.Veto(ctx, started.Request.String()[:8]), device.CodeNotFound) // it is not her account
	own := w.request(owner)
	if !own.Own || own.Phrase != started.Phrase {
		t.Errorf("%+v", own)
	}
	_, err := owner.Approve(ctx, device.ApproveOptions{Phrase: started.Phrase})
	wantCode(t, err, device.CodeUsage)
	wantCode(t, owner.Deny(ctx, ""), device.CodeUsage)
	for range 2 { // the second does nothing
		if err := owner.Veto(ctx, started.Request.String()[:8]); err != nil {
			t.Fatal(explained(err))
		}
	}
	if n := w.approvals(fresh); n != 0 {
		t.Fatalf("%d approvals after a veto", n)
	}
	_, err = fresh.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet)

	w.wait(day)
	seen := w.request(ann)
	if seen.Decision != device.Undecided || !seen.Voided || len(seen.Vetoes) != 1 || !seen.Vetoes[0].Verified || seen.Vetoes[0].Device != 1 {
		t.Fatalf("%+v", seen)
	}
	if seen.Due.Sub(w.now()).Round(time.Minute) != 3*day {
		t.Errorf("after a veto the whole wait starts again: %v left", seen.Due.Sub(w.now()))
	}
	if held, err := ann.Held(ctx); err != nil || held[0].Words != "" {
		t.Errorf("and words are withheld again: %v", err)
	}
	if r := w.approve(ann, started.Phrase); r.Sent {
		t.Error("it left at once")
	}
	cleo.sync()
	w.wait(3*day + time.Minute)
	ann.sync()
	bob.sync() // approved before the veto, and did not approve again
	w.approve(cleo, started.Phrase)
	if n := w.approvals(fresh); n != 2 {
		t.Errorf("%d approvals name the veto", n)
	}
	if d := w.request(bob); d.Decision != device.Undecided || !d.Voided {
		t.Errorf("bob: %s", d.Decision)
	}
}

func TestDenyKeepsTheShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	fresh, started := w.newDevice("olivia")
	ann := contacts[0]
	w.approve(ann, started.Phrase)
	if err := ann.Deny(ctx, started.Request.String()[:6]); err != nil {
		t.Fatal(explained(err))
	}
	w.wait(10 * day)
	ann.reopen()
	ann.sync()
	if n := w.approvals(fresh); n != 0 || w.request(ann).Decision != device.Denied {
		t.Fatalf("%d approvals, %s", n, w.request(ann).Decision)
	}
	// A person may come to think otherwise, after comparing again.
	_, err := ann.Approve(ctx, device.ApproveOptions{Compare: func(r device.RecoveryRequest) (bool, error) { return r.Phrase != started.Phrase, nil }})
	if !errors.Is(err, device.ErrPhrase) {
		t.Fatalf("%v", err)
	}
	if r := w.approve(ann, started.Phrase); !r.Sent || w.approvals(fresh) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestApproveWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("olivia", func(i *device.InitOptions) { i.WaitingPeriod = time.Second })
	contacts := []*person{w.person("ann", nil), w.person("bob", nil)}
	w.befriend(owner, contacts...)
	fresh, started := w.newDevice("olivia")
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := contacts[1]
	w.request(cancelled)
	go func() {
		time.Sleep(100 * time.Millisecond)
		cancel()
	}()
	_, err := cancelled.Approve(ctx, device.ApproveOptions{Phrase: started.Phrase, Wait: true})
	wantCode(t, err, device.CodeNotYet)
	if !errors.Is(err, context.Canceled) || w.request(cancelled).Decision != device.Approved {
		t.Errorf("the approval is kept: %v", err)
	}
	r, err := contacts[0].Approve(context.Background(), device.ApproveOptions{Phrase: started.Phrase, Wait: true})
	if err != nil || !r.Sent || w.now().Before(r.Due) {
		t.Fatalf("%+v, %v", r, err)
	}
	cancelled.sync()
	if n := w.approvals(fresh); n != 2 {
		t.Errorf("%d approvals", n)
	}
}

func TestAContactsClockIsAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner := w.person("olivia", func(i *device.InitOptions) { i.WaitingPeriod = time.Second })
	contacts := []*person{w.person("ann", nil), w.person("bob", nil)}
	w.befriend(owner, contacts...)
	ann := contacts[0]
	ann.close()
	options := w.options()
	options.Now = func() time.Time { return w.now().Add(90 * time.Second) }
	d, err := device.Open(ctx, ann.dir, []byte(passphrase), options)
	if err != nil {
		t.Fatal(explained(err))
	}
	ann.Device = d
	fresh, started := w.newDevice("olivia")
	w.request(ann)
	w.wait(2 * time.Second)
	if r := w.approve(ann, started.Phrase); r.Sent || w.approvals(fresh) != 0 {
		t.Fatalf("by the server's clock it is too early: %+v", r)
	}
	w.wait(90 * time.Second)
	ann.sync()
	if n := w.approvals(fresh); n != 1 {
		t.Errorf("%d approvals", n)
	}
}

func TestApproveWaitStopsAtAVeto(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("olivia", func(i *device.InitOptions) { i.WaitingPeriod = 2 * time.Second })
	contacts := []*person{w.person("ann", nil), w.person("bob", nil)}
	w.befriend(owner, contacts...)
	fresh, started := w.newDevice("olivia")
	w.request(contacts[0])
	vetoed := make(chan error, 1)
	go func() {
		time.Sleep(200 * time.Millisecond)
		vetoed <- owner.Veto(context.Background(), started.Request.String())
	}()
	_, err := contacts[0].Approve(context.Background(), device.ApproveOptions{Phrase: started.Phrase, Wait: true})
	if err := <-vetoed; err != nil {
		t.Fatal(explained(err))
	}
	wantCode(t, err, device.CodeNotYet)
	if !errors.Is(err, api.ErrVetoed) || w.approvals(fresh) != 0 {
		t.Errorf("%v, %d approvals", err, w.approvals(fresh))
	}
}

func TestAnApprovalIsSentAgainToARestoredServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	fresh, started := w.newDevice("olivia")
	ann := contacts[0]
	ann.sync()
	before := w.backup()
	w.wait(3*day + time.Minute)
	if r := w.approve(ann, started.Phrase); !r.Sent {
		t.Fatal("it has not left")
	}
	w.restore(before)
	if n := w.approvals(fresh); n != 0 {
		t.Fatalf("%d approvals in the older copy", n)
	}
	ann.sync()
	if n := w.approvals(fresh); n != 1 {
		t.Errorf("%d approvals", n)
	}
}

// recover has a new device recover an account with the approvals of contacts.
func (w *world) recover(name string, contacts ...*person) *person {
	w.t.Helper()
	fresh, started := w.newDevice(name)
	for _, c := range contacts {
		w.request(c)
	}
	w.wait(3*day + time.Minute)
	for _, c := range contacts {
		w.approve(c, started.Phrase)
	}
	if _, err := fresh.RecoverFinish(context.Background(), device.FinishOptions{}); err != nil {
		w.t.Fatalf("recover finish of %s: %s", name, explained(err))
	}
	return fresh
}

// epochs are those of which somebody keeps a whole share for another.
func (p *person) epochs(owner *person) (all []uint64) {
	p.w.t.Helper()
	held, err := p.Held(context.Background())
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	for _, h := range held {
		if h.Whole && h.Owner == owner.name {
			all = append(all, h.Epoch)
		}
	}
	slices.Sort(all)
	return all
}

func TestContactsFollowTheOwnerThroughARecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob", "cleo")
	w.befriend(owner, contacts...)
	owner.sync()
	for _, c := range contacts {
		c.sync()
	}
	owner.close()
	fresh := w.recover("olivia", contacts[:2]...)
	// Cleo approved nothing and learns of the new device by the envelope alone:
	// the root key of the share that she keeps signed for it.
	for _, c := range contacts {
		if r := c.sync(); len(r.Held) != 1 {
			t.Errorf("%s: held %q, notes %q", c.name, r.Held, r.Notes)
		}
		if got := c.epochs(fresh); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("before the commit %s keeps epochs %v", c.name, got)
		}
	}
	r := fresh.sync()
	if len(r.Committed) != 1 || r.Committed[0] != 2 {
		t.Fatalf("committed %v, notes %q", r.Committed, r.Notes)
	}
	for _, c := range contacts {
		c.sync()
		if got := c.epochs(fresh); !slices.Equal(got, []uint64{2}) {
			t.Errorf("after the commit %s keeps epochs %v", c.name, got)
		}
	}
}

// Where nothing leads from what a contact has to the new device, people compare
// again, and the contact keeps the old share.
func TestADeviceThatCannotBeTracedIsIntroducedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.close()
	ann := contacts[0]
	fresh, started := w.newDevice("olivia")
	for _, c := range contacts {
		w.request(c)
	}
	w.wait(3*day + time.Minute)
	for _, c := range contacts {
		w.approve(c, started.Phrase)
	}
	before := w.backup()
	if _, err := fresh.RecoverFinish(context.Background(), device.FinishOptions{}); err != nil {
		t.Fatal(explained(err))
	}
	// The envelopes are lost with an older copy of the server, and the list that
	// the root key signed with a file.
	w.restore(before)
	if err := os.Remove(filepath.Join(fresh.dir, "private", "device-list")); err != nil {
		t.Fatal(err)
	}
	w.wait(2 * day)
	fresh.sync()
	r := ann.sync()
	if len(r.Held) != 0 || !strings.Contains(strings.Join(r.Notes, " "), "new invitation") {
		t.Fatalf("held %q, notes %q", r.Held, r.Notes)
	}
	invited, err := fresh.Invite(context.Background(), "ann")
	if err != nil {
		t.Fatal(explained(err))
	}
	accepted, err := ann.Accept(context.Background(), invited.Text)
	if err != nil {
		t.Fatal(explained(err))
	}
	bound, err := fresh.Confirm(context.Background(), device.ConfirmOptions{Contact: "ann", Phrase: accepted.OwnPhrase})
	if err != nil || !bound.Again {
		t.Fatalf("%+v, %v", bound, err)
	}
	if r := ann.sync(); len(r.Held) != 1 {
		t.Fatalf("held %q, notes %q", r.Held, r.Notes)
	}
	fresh.sync()
	for range 2 {
		ann.sync()
		fresh.sync()
	}
	if got := ann.epochs(fresh); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("ann keeps epochs %v", got)
	}
}

func TestAContactWhoRecoveredStillHelps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	olivia, others := w.family("ann", "bob", "cleo")
	ann := others[0]
	w.befriend(olivia, others...)
	friends := []*person{w.person("fay", nil), w.person("gus", nil)}
	w.befriend(ann, friends...)
	ann.sync()
	held, err := ann.Held(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ann.close()
	ann = w.recover("ann", friends...)
	again, err := ann.Held(context.Background())
	if err != nil || len(again) != 1 || again[0].Words != held[0].Words || again[0].Owner != "olivia" {
		t.Fatalf("%d shares came back, %v", len(again), err)
	}
	olivia.sync()
	ann.sync()
	if again, err = ann.Held(context.Background()); err != nil || again[0].Head != olivia.Head() {
		t.Errorf("ann was not shown the newest head: %v", err)
	}
	olivia.close()
	fresh, started := w.newDevice("olivia")
	w.request(ann)
	w.wait(3*day + time.Minute)
	if r := w.approve(ann, started.Phrase); !r.Sent || w.approvals(fresh) != 1 {
		t.Errorf("%+v, %d approvals", r, w.approvals(fresh))
	}
}
