package systemtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

// login is an item with a title and a password.
func login(title, password string) device.Item {
	keepUnsaid(title, password)
	return device.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: title, UserName: "ann"},
		Secret:   &recordv1.Secret{Kind: &recordv1.Secret_Login{Login: &recordv1.Login{Password: password}}},
	}
}

func (p *person) add(title, password string) *device.AddResult {
	p.w.t.Helper()
	r, err := p.Add(context.Background(), login(title, password))
	if err != nil || !r.Accepted {
		p.w.t.Fatalf("add %s: %v, %+v", title, err, r)
	}
	return r
}

// wantSecret fails unless the owner's device reveals this password.
func (p *person) wantSecret(title, password string) {
	p.w.t.Helper()
	item, err := p.Get(context.Background(), title)
	if err != nil {
		p.w.t.Fatalf("get %s: %s", title, explained(err))
	}
	if got := item.Secret.GetLogin().GetPassword(); got != password {
		p.w.t.Fatalf("%s has the password %q, not %q", title, got, password)
	}
}

// household makes an owner with three contacts that all hold their shares.
func (w *world) household(owner string) (*person, []*person) {
	w.t.Helper()
	ann := w.person(owner, nil)
	var contacts []*person
	for _, name := range []string{"bob", "cy", "di"} {
		contacts = append(contacts, w.person(name+" of "+owner, nil))
	}
	w.befriend(ann, contacts...)
	return ann, contacts
}

// approveAll has contacts approve a recovery; the approvals leave at a sync after
// the waiting period.
func (w *world) approveAll(phrase string, contacts ...*person) {
	w.t.Helper()
	for _, c := range contacts {
		w.approve(c, phrase)
	}
}

const waiting = device.DefaultWaitingPeriod

// handed collects what a recovery hands over.
type handed struct {
	items []device.Item
	lost  []device.LostItem
	calls int
}

func (h *handed) take(items []device.Item, lost []device.LostItem) error {
	h.items, h.lost = items, lost
	h.calls++
	return nil
}

func (h *handed) password(title string) string {
	for _, item := range h.items {
		if item.Metadata.Title == title {
			return item.Secret.GetLogin().GetPassword()
		}
	}
	return ""
}

func (p *person) finish() (*handed, *device.FinishResult) {
	p.w.t.Helper()
	h := &handed{}
	r, err := p.RecoverFinish(context.Background(), device.FinishOptions{HandOver: h.take})
	if err != nil {
		p.w.t.Fatalf("recover finish of %s: %s", p.name, explained(err))
	}
	return h, r
}

func TestEverythingComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	for i := range 20 {
		ann.add(fmt.Sprintf("site %d", i), fmt.Sprintf("secret %d", i))
	}
	ann.sync()
	for _, c := range contacts {
		c.sync()
	}
	ann.close() // and lost

	anew, started := w.newDevice("ann")
	if started.Ready || started.Approvals != 0 || started.Quorum != 2 {
		t.Fatalf("at the start: %+v", started)
	}
	w.approveAll(started.Phrase, contacts[:2]...)
	if _, err := anew.RecoverFinish(context.Background(), device.FinishOptions{}); err == nil {
		t.Fatal("finished without an approval")
	} else {
		wantCode(t, err, device.CodeNotYet)
	}
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	_, err := anew.RecoverFinish(context.Background(), device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet) // one approval
	contacts[1].sync()
	if r, err := anew.RecoverStatus(context.Background()); err != nil || !r.Ready {
		t.Fatalf("after both: %+v, %v", r, err)
	}
	h, r := anew.finish()
	if h.calls != 1 || len(h.items) != 20 || len(h.lost) != 0 || h.password("site 7") != "secret 7" {
		t.Fatalf("handed over %d items, %d lost, in %d calls", len(h.items), len(h.lost), h.calls)
	}
	if r.Device != 2 || r.OldEpoch != 1 || r.Epoch != 2 || len(r.Bound) != 3 {
		t.Fatalf("%+v", r)
	}
	st, err := anew.Status(context.Background())
	if err != nil || !st.Recoverable || st.Epoch != 1 || st.Next == nil || !strings.Contains(strings.Join(st.Warnings, "\n"), "still protects") {
		t.Fatalf("%+v, %v", st, err)
	}
	anew.wantSecret("site 3", "secret 3")
	anew.add("while prepared", "both epochs")

	for _, c := range contacts {
		c.sync()
	}
	if s := anew.sync(); len(s.Committed) != 1 || s.Committed[0] != 2 {
		t.Fatalf("%+v", s)
	}
	st, err = anew.Status(context.Background())
	if err != nil || !st.Recoverable || st.Epoch != 2 || st.Next != nil || st.Receipts != 3 {
		t.Fatalf("%+v, %v", st, err)
	}
	anew.wantSecret("while prepared", "both epochs")
	anew.wantSecret("site 19", "secret 19")
	for _, c := range contacts {
		c.sync() // learns that the new epoch is committed
		held, err := c.Held(context.Background())
		if err != nil || len(held) != 1 || held[0].Epoch != 2 {
			t.Fatalf("%s holds %+v, %v", c.name, held, err)
		}
	}
	v, err := anew.VerifyLedger(context.Background())
	if err != nil || !v.OK() {
		t.Fatalf("%+v, %v", v, err)
	}

	ann.reopen()
	_, err = ann.Sync(context.Background())
	if !errors.Is(err, device.ErrRevoked) {
		t.Fatalf("%v", err)
	}
	wantCode(t, err, device.CodeRefused)
	if st, err := ann.Status(context.Background()); err != nil || !st.Revoked || st.Recoverable {
		t.Fatalf("%+v, %v", st, err)
	}
	_, err = ann.Add(context.Background(), login("more", "x"))
	wantCode(t, err, device.CodeRefused)

	// And a second time, in the second epoch.
	anew.close()
	again, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[1:]...)
	w.wait(waiting + time.Minute)
	contacts[1].sync()
	contacts[2].sync()
	h, r = again.finish()
	if len(h.items) != 21 || h.password("while prepared") != "both epochs" || r.Epoch != 3 || r.Device != 3 {
		t.Fatalf("%d items, %+v", len(h.items), r)
	}
}

func TestRecoveryKeepsEveryField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	item := login("everything", "p")
	item.Secret.Notes = "notes"
	item.Secret.Fields = []*recordv1.Field{{Type: recordv1.Field_TYPE_HIDDEN, Name: "pin", Value: "1234"}}
	item.Metadata.Created, item.Metadata.Revised = 5, 6
	if _, err := ann.Add(context.Background(), item); err != nil {
		t.Fatal(err)
	}
	ann.sync()
	ann.close()
	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	h, _ := anew.finish()
	if len(h.items) != 1 || !proto.Equal(h.items[0].Metadata, item.Metadata) || !proto.Equal(h.items[0].Secret, item.Secret) {
		t.Fatal("an item came back changed")
	}
}

// A recovery that is stopped by the person who was to take the secrets changes
// nothing, and goes on later.
func TestRecoveryStopsWhenNobodyTakesTheSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	ann.sync()
	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	full := errors.New("the disk is full")
	_, err := anew.RecoverFinish(context.Background(), device.FinishOptions{
		HandOver: func([]device.Item, []device.LostItem) error { return full },
	})
	if !errors.Is(err, full) {
		t.Fatalf("%v", err)
	}
	ann.add("later", "still mine") // the old device is alive and goes on writing
	anew.reopen()
	h, _ := anew.finish()
	if h.password("later") != "still mine" || len(h.items) != 2 {
		t.Fatalf("%d items", len(h.items))
	}
	_, err = ann.Add(context.Background(), login("too late", "x"))
	if err != nil {
		t.Fatalf("an item of a device that does not know that it was revoked: %v", err)
	}
	_, err = ann.Sync(context.Background())
	wantCode(t, err, device.CodeRefused)
}

func TestRecoverStartThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	bob := w.person("bob", nil)
	bob.close()
	other := ledger.AccountID{1}
	good := func() device.RecoverOptions {
		return device.RecoverOptions{
			Dir: filepath.Join(t.TempDir(), "new"), ServerURL: w.url(), Name: "ann", UnlockCost: 1,
			Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
		}
	}
	for name, c := range map[string]struct {
		change func(*device.RecoverOptions)
		code   device.Code
	}{
		"no such account":    {func(r *device.RecoverOptions) { r.Name = "anna" }, device.CodeNotFound},
		"not recoverable":    {func(*device.RecoverOptions) {}, device.CodeNotYet},
		"another account":    {func(r *device.RecoverOptions) { r.Account = &other }, device.CodeDishonest},
		"no name":            {func(r *device.RecoverOptions) { r.Name = "" }, device.CodeUsage},
		"an account's place": {func(r *device.RecoverOptions) { r.Dir, r.Name = bob.dir, "bob" }, device.CodeHome},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			c.change(&r)
			d, _, err := device.RecoverStart(ctx, w.options(), r)
			if err == nil {
				_ = d.Close()
			}
			wantCode(t, err, c.code)
			if _, err := os.Stat(r.Dir); err == nil && c.code != device.CodeHome && c.code != device.CodeDishonest {
				t.Error("a directory is left")
			}
		})
	}
	if _, err := ann.RecoverFinish(ctx, device.FinishOptions{}); err == nil {
		t.Error("nothing was to be recovered")
	} else {
		wantCode(t, err, device.CodeUsage)
	}
}
