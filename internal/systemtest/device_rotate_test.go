package systemtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
)

// rotate prepares the next epoch, which must succeed.
func (p *person) rotate(r device.RotateOptions) *device.RotateResult {
	p.w.t.Helper()
	got, err := p.Rotate(context.Background(), r)
	if err != nil {
		p.w.t.Fatalf("rotate of %s: %s", p.name, explained(err))
	}
	return got
}

// status is what the device can prove.
func (p *person) status() *device.Status {
	p.w.t.Helper()
	st, err := p.Status(context.Background())
	if err != nil {
		p.w.t.Fatalf("status of %s: %s", p.name, explained(err))
	}
	return st
}

func syncAll(people ...*person) {
	for _, p := range people {
		p.sync()
	}
}

// recovered brings an account back on a new device with these contacts, and
// returns what was handed over.
func (w *world) recovered(name string, contacts ...*person) (*person, *handed, *device.FinishResult) {
	w.t.Helper()
	anew, started := w.newDevice(name)
	w.approveAll(started.Phrase, contacts...)
	w.wait(time.Duration(started.Ends.Sub(started.Started)) + time.Minute)
	syncAll(contacts...)
	h, r := anew.finish()
	return anew, h, r
}

// wantItems fails unless exactly these came back, each with its password.
func (h *handed) wantItems(t *testing.T, want map[string]string) {
	t.Helper()
	if len(h.items) != len(want) || len(h.lost) != 0 {
		t.Fatalf("%d items came back and %d are lost, want %d", len(h.items), len(h.lost), len(want))
	}
	for title, password := range want {
		if got := h.password(title); got != password {
			t.Errorf("%s came back as %q, not %q", title, got, password)
		}
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	want := map[string]string{}
	for i := range 7 {
		title := fmt.Sprintf("site %d", i)
		want[title] = fmt.Sprintf("secret %d", i)
		ann.add(title, want[title])
	}
	ann.sync()
	r := ann.rotate(device.RotateOptions{})
	if r.Epoch != 2 || r.OldEpoch != 1 || r.Again || r.Split != 7 || len(r.Bound) != 3 || len(r.Left) != 0 || r.Free != 0 || !r.CommitFrom.IsZero() {
		t.Fatalf("%+v", r)
	}
	st := ann.status()
	if !st.Recoverable || st.Epoch != 1 || st.Next == nil || st.Next.Epoch != 2 || st.Next.Unsplit != 0 || st.Next.Receipts != 0 {
		t.Fatalf("%+v", st)
	}
	head := ann.Head()
	if r := ann.rotate(device.RotateOptions{}); !r.Again || r.Split != 0 || r.Epoch != 2 || ann.Head() != head {
		t.Fatalf("a second time: %+v", r)
	}

	// What is written meanwhile stands in both.
	ann.add("between", "new")
	want["between"] = "new"
	entry, err := ann.Find("site 3")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ann.Edit(context.Background(), entry.ID, login("site 3", "changed")); err != nil || !r.Accepted {
		t.Fatalf("%+v, %v", r, err)
	}
	want["site 3"] = "changed"
	if entry, err = ann.Find("site 4"); err != nil {
		t.Fatal(err)
	}
	if err := ann.Delete(context.Background(), entry.ID); err != nil {
		t.Fatal(err)
	}
	delete(want, "site 4")

	syncAll(contacts...)
	if s := ann.sync(); len(s.Committed) != 1 || s.Committed[0] != 2 || len(s.Receipts) != 3 {
		t.Fatalf("%+v", s)
	}
	if st := ann.status(); !st.Recoverable || st.Epoch != 2 || st.Next != nil {
		t.Fatalf("%+v", st)
	}
	for title, password := range want {
		ann.wantSecret(title, password)
	}
	syncAll(contacts...)
	for _, c := range contacts {
		if held, err := c.Held(context.Background()); err != nil || len(held) != 1 || held[0].Epoch != 2 {
			t.Fatalf("%s holds %+v, %v", c.name, held, err)
		}
	}
	if v, err := ann.VerifyLedger(context.Background()); err != nil || !v.OK() {
		t.Fatalf("%+v, %v", v, err)
	}
	_, h, fin := w.recovered("ann", contacts[1:]...)
	h.wantItems(t, want)
	if fin.OldEpoch != 2 || fin.Epoch != 3 {
		t.Fatalf("%+v", fin)
	}
}

// However often it is killed, the account comes back from the epoch in use, and
// with what was written between.
func TestRotationGoesOnAfterEveryCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	want := map[string]string{"site": "secret", "other": "words", "meanwhile": "both"}
	ann.add("site", "secret")
	ann.add("other", "words")
	ann.sync()
	syncAll(contacts...)
	ann.close()
	for _, c := range contacts {
		c.close()
	}
	data := w.backup()

	w.eachFault(t, func(t *testing.T, f *fault) bool {
		w.restore(data)
		people := map[string]*person{}
		for _, p := range append([]*person{ann}, contacts...) {
			people[p.name] = &person{w: w, name: p.name, dir: filepath.Join(t.TempDir(), "home")}
			copyDir(t, p.dir, people[p.name].dir)
		}
		owner := people["ann"]
		d, err := device.Open(context.Background(), owner.dir, []byte(passphrase), w.faulty(f))
		if err != nil {
			t.Fatal(explained(err))
		}
		_, err = d.Rotate(context.Background(), device.RotateOptions{})
		failed := err != nil
		if failed {
			wantCode(t, err, device.CodeUnreachable)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		w.wait(10 * time.Minute) // and what was signed is out of date
		var helpers []*person
		for _, c := range contacts {
			helper := people[c.name]
			helper.reopen()
			t.Cleanup(helper.close)
			helpers = append(helpers, helper)
		}
		owner.reopen()
		owner.add("meanwhile", "both")
		if st := owner.status(); !st.Recoverable || st.Epoch != 1 {
			t.Fatalf("%+v", st)
		}
		epoch := uint64(1)
		if f.at%2 == 0 { // lost in the middle of it, or after it went on
			owner.rotate(device.RotateOptions{})
			syncAll(helpers...)
			if s := owner.sync(); len(s.Committed) != 1 {
				t.Fatalf("%+v", s)
			}
			syncAll(helpers...)
			epoch = owner.status().Epoch
			if epoch != 2 {
				t.Fatalf("epoch %d is in use", epoch)
			}
		}
		owner.close()
		anew, h, r := w.recovered("ann", helpers[0], helpers[2])
		h.wantItems(t, want)
		if r.OldEpoch != epoch {
			t.Fatalf("recovered from epoch %d, not %d", r.OldEpoch, epoch)
		}
		anew.close()
		return failed
	})
}

// A smaller quorum, and a shorter waiting period, wait for the old period, however
// soon the shares are proved.
func TestAWeakerEpochWaitsTheOldPeriod(t *testing.T) {
	t.Parallel()
	for name, weaker := range map[string]device.RotateOptions{
		"quorum":  {Quorum: 1, Members: 1},
		"waiting": {WaitingPeriod: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ann, contacts := w.household("ann")
			ann.add("site", "secret")
			r := ann.rotate(weaker)
			if wait := r.CommitFrom.Sub(w.now()); wait < waiting-time.Hour || wait > waiting {
				t.Fatalf("%+v", r)
			}
			if weaker.Members == 1 && (len(r.Left) != 2 || len(r.Bound) != 1) {
				t.Fatalf("%+v", r)
			}
			syncAll(contacts...)
			w.wait(waiting - time.Hour)
			if s := ann.sync(); len(s.Committed) != 0 {
				t.Fatalf("%+v", s)
			}
			if st := ann.status(); st.Epoch != 1 || st.Next == nil || st.Next.CommitFrom.IsZero() {
				t.Fatalf("%+v", st)
			}
			w.wait(time.Hour)
			if s := ann.sync(); len(s.Committed) != 1 {
				t.Fatalf("%+v", s)
			}
			if st := ann.status(); st.Epoch != 2 || !st.Recoverable {
				t.Fatalf("%+v", st)
			}
			ann.wantSecret("site", "secret")
		})
	}
}

// One who asks for another epoch than the prepared one gets it, and the prepared
// one is given up; a quorum that cannot be is refused.
func TestRotateAgainWithOtherChoices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	ann.rotate(device.RotateOptions{Quorum: 3, Members: 5})
	r := ann.rotate(device.RotateOptions{WaitingPeriod: 2 * waiting})
	if r.Again || r.Epoch != 3 || r.Quorum != 3 || r.Members != 5 || r.WaitingPeriod != 2*waiting || r.Free != 2 || len(r.Bound) != 3 || r.Split != 1 {
		t.Fatalf("%+v", r)
	}
	_, err := ann.Rotate(context.Background(), device.RotateOptions{Quorum: 4, Members: 3})
	wantCode(t, err, device.CodeUsage)
	_, err = ann.Rotate(context.Background(), device.RotateOptions{WaitingPeriod: time.Millisecond})
	wantCode(t, err, device.CodeUsage)
	syncAll(contacts...)
	if s := ann.sync(); len(s.Committed) != 1 || s.Committed[0] != 3 {
		t.Fatalf("%+v", s)
	}
}

// A contact is replaced: the others keep their part, the freed share goes to
// somebody else, and that waits the old period.
func TestReplaceAContact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	_, err := ann.Replace(ctx, "nobody")
	wantCode(t, err, device.CodeNotFound)
	r, err := ann.Replace(ctx, "Cy of Ann")
	if err != nil {
		t.Fatal(explained(err))
	}
	if r.Name != "cy of ann" || r.Account != contacts[1].Account() || r.Epoch != 2 || r.Split != 1 || r.Free != 1 ||
		!slices.Equal(r.Bound, []string{"bob of ann", "di of ann"}) || !slices.Equal(r.Left, []string{"cy of ann"}) || r.Until == "" || r.After == "" {
		t.Fatalf("%+v", r)
	}
	if r, err := ann.Rebind(ctx); err != nil || len(r.Bound) != 0 {
		t.Fatalf("who was replaced is bound again: %+v, %v", r, err)
	}
	if r := ann.rotate(device.RotateOptions{}); !r.Again || r.Free != 1 {
		t.Fatalf("%+v", r)
	}

	// Until the commit the former contact counts, and afterwards it does not.
	eve := w.person("eve", nil)
	bound := w.confirm(ann, eve, w.accept(ann, eve).OwnPhrase)
	if bound.Epoch != 2 {
		t.Fatalf("%+v", bound)
	}
	syncAll(contacts[0], eve)
	if s := ann.sync(); len(s.Committed) != 0 {
		t.Fatalf("a new contact counts at once: %+v", s)
	}
	w.wait(waiting)
	if s := ann.sync(); len(s.Committed) != 1 {
		t.Fatalf("%+v", s)
	}
	syncAll(contacts[0], eve)

	anew, started := w.newDevice("ann")
	if all, err := contacts[1].Requests(ctx); err != nil || slices.ContainsFunc(all, func(q device.RecoveryRequest) bool { return !q.Own && q.Cannot == "" }) {
		t.Fatalf("who was replaced may approve: %+v, %v", all, err)
	}
	w.approveAll(started.Phrase, contacts[0], eve)
	w.wait(waiting + time.Minute)
	syncAll(contacts[0], eve)
	h, _ := anew.finish()
	h.wantItems(t, map[string]string{"site": "secret"})
}

// A contact that was bound to the prepared epoch alone is still there in the next
// one, when another is replaced; and one that was replaced can come back.
func TestReplaceAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	if _, err := ann.Replace(ctx, contacts[0].name); err != nil {
		t.Fatal(explained(err))
	}
	eve := w.person("eve", nil)
	w.confirm(ann, eve, w.accept(ann, eve).OwnPhrase)
	r, err := ann.Replace(ctx, contacts[1].Account().String()[:8])
	if err != nil || r.Epoch != 3 || !slices.Equal(r.Bound, []string{"di of ann", "eve"}) || r.Free != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.confirm(ann, contacts[0], w.accept(ann, contacts[0]).OwnPhrase)
	if r := ann.rotate(device.RotateOptions{Quorum: 3, Members: 3}); r.Epoch != 4 || r.Free != 0 || len(r.Bound) != 3 {
		t.Fatalf("%+v", r)
	}
	syncAll(contacts[0], contacts[2], eve)
	w.wait(waiting + time.Minute)
	if s := ann.sync(); len(s.Committed) != 1 || s.Committed[0] != 4 {
		t.Fatalf("%+v", s)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	set := func(hour, day uint64) *device.PolicyResult {
		t.Helper()
		r, err := ann.SetPolicy(ctx, device.Policy{RevealsPerHour: hour, RevealsPerDay: day})
		if err != nil {
			t.Fatal(explained(err))
		}
		if again, err := ann.Policy(ctx); err != nil || *again != *r {
			t.Fatalf("%+v and %+v, %v", r, again, err)
		}
		return r
	}
	if r := set(2, 0); r.Now != (device.Policy{RevealsPerHour: 2, RevealsPerDay: 500}) || r.Now != r.Chosen || !r.From.IsZero() {
		t.Fatalf("stricter: %+v", r)
	}
	head := ann.Head()
	if set(2, 500); ann.Head() != head {
		t.Fatal("the same policy is written again")
	}
	ann.wantSecret("site", "secret")
	ann.wantSecret("site", "secret")
	if _, err := ann.Get(ctx, "site"); !errors.Is(err, api.ErrRateLimited) {
		t.Fatalf("a third reveal: %v", err)
	}
	r := set(200, 0)
	if wait := r.From.Sub(w.now()); r.Now.RevealsPerHour != 2 || r.Chosen.RevealsPerHour != 200 || wait < waiting-time.Minute || wait > waiting {
		t.Fatalf("weaker: %+v", r)
	}
	if _, err := ann.Get(ctx, "site"); !errors.Is(err, api.ErrRateLimited) {
		t.Fatalf("a weaker policy counts at once: %v", err)
	}
	if r := set(0, 50); r.Now != (device.Policy{RevealsPerHour: 2, RevealsPerDay: 50}) || r.Chosen.RevealsPerHour != 200 || r.From.IsZero() {
		t.Fatalf("one of the two: %+v", r)
	}
	w.wait(waiting + time.Minute)
	if r, err := ann.Policy(ctx); err != nil || r.Now != r.Chosen || r.Now.RevealsPerHour != 200 || !r.From.IsZero() {
		t.Fatalf("after the waiting period: %+v, %v", r, err)
	}
	for range 3 {
		ann.wantSecret("site", "secret")
	}
	_, err := ann.SetPolicy(ctx, device.Policy{RevealsPerHour: 1 << 40})
	wantCode(t, err, device.CodeUsage)
}

// cutAppend fails at the nth append, before the server sees it.
type cutAppend struct{ at, seen int }

func (c *cutAppend) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/Append") {
		if c.seen++; c.seen == c.at {
			return nil, errCut
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// What is too large for one entry is split in several, and what is in the ledger
// is not split again.
func TestRotateLargeSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	large := strings.Repeat("large ", 1<<19)
	for i := range 3 {
		ann.add(fmt.Sprintf("file %d", i), large)
	}
	ann.close()
	o := w.options()
	o.HTTP = &http.Client{Transport: &cutAppend{at: 3}} // the epoch, one batch, and the second does not arrive
	d, err := device.Open(context.Background(), ann.dir, []byte(passphrase), o)
	if err != nil {
		t.Fatal(explained(err))
	}
	_, err = d.Rotate(context.Background(), device.RotateOptions{})
	wantCode(t, err, device.CodeUnreachable)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	ann.reopen()
	if st := ann.status(); st.Next == nil || st.Next.Unsplit != 2 {
		t.Fatalf("%+v", st)
	}
	if r := ann.rotate(device.RotateOptions{}); !r.Again || r.Split != 1 { // the second was on its way
		t.Fatalf("%+v", r)
	}
	if st := ann.status(); st.Next.Unsplit != 0 {
		t.Fatalf("%+v", st)
	}
	ann.wantSecret("file 2", large)
}
