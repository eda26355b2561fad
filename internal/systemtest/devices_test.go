package systemtest

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

// joining is a new device while it waits to be added.
type joining struct {
	*person
	shown  device.JoinShown
	result *device.JoinResult
	err    error
	done   chan struct{}
}

// startJoin starts a further device of an account, and returns when it shows its
// phrases. change, which may be nil, changes what it starts from.
func (w *world) startJoin(owner *person, change func(*device.Options, *device.JoinOptions)) *joining {
	w.t.Helper()
	return w.joinIn(context.Background(), owner, filepath.Join(w.t.TempDir(), "further"), change)
}

func (w *world) joinIn(ctx context.Context, owner *person, dir string, change func(*device.Options, *device.JoinOptions)) *joining {
	w.t.Helper()
	j := &joining{person: &person{w: w, name: owner.name, dir: dir}, done: make(chan struct{})}
	shown := make(chan device.JoinShown, 1)
	o := w.options()
	join := device.JoinOptions{
		Dir: dir, ServerURL: w.url(), Name: owner.name, UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
		AccountPhrase: owner.AccountPhrase(),
		Show: func(s device.JoinShown) error {
			shown <- s
			return nil
		},
	}
	if change != nil {
		change(&o, &join)
	}
	go func() {
		defer close(j.done)
		j.Device, j.result, j.err = device.Join(ctx, o, join)
	}()
	w.t.Cleanup(func() {
		<-j.done
		j.close()
	})
	select {
	case j.shown = <-shown:
	case <-j.done:
	case <-time.After(30 * time.Second):
		w.t.Fatal("the new device shows nothing")
	}
	return j
}

// added waits until the new device is added, which must succeed.
func (j *joining) added() *person {
	j.w.t.Helper()
	<-j.done
	if j.err != nil {
		j.w.t.Fatalf("join: %s", explained(j.err))
	}
	if j.result.Unsaid != "" {
		j.w.t.Fatalf("first sync: %s", j.result.Unsaid)
	}
	return j.person
}

// approveDevice adds a device by the words on its screen, which must succeed.
func (p *person) approveDevice(j *joining, name string) {
	p.w.t.Helper()
	if _, err := p.ApproveDevice(context.Background(), device.ApproveDeviceOptions{Name: name, Phrase: j.shown.Phrases.Device}); err != nil {
		p.w.t.Fatalf("approve: %s", explained(err))
	}
}

// withConfirms has devices confirm everything that others ask, until what they ask
// is done. Nothing else uses these devices meanwhile.
func withConfirms(t *testing.T, do func(), others ...*person) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, p := range others {
		group.Go(func() {
			for ctx.Err() == nil {
				items, err := p.Pending(ctx)
				if err != nil && ctx.Err() == nil {
					t.Errorf("pending: %s", explained(err))
					return
				}
				for _, i := range items {
					if !i.Own && !i.Done && i.Cannot == "" {
						_, _ = p.ConfirmPending(ctx, i.ID) // it may have been withdrawn
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	do()
	stop()
	group.Wait()
}

// further adds one more device to an account, confirmed by all that it has.
func (w *world) further(name string, by *person, others ...*person) *person {
	w.t.Helper()
	j := w.startJoin(by, nil)
	if j.shown.Code == "" {
		<-j.done
		w.t.Fatalf("join: %v", j.err)
	}
	withConfirms(w.t, func() { by.approveDevice(j, name) }, others...)
	return j.added()
}

// noConfirmPassphrase opens the device for somebody who does not know its confirm
// passphrase, and should not be asked for it.
func (p *person) noConfirmPassphrase() {
	o := p.w.options()
	o.ConfirmPassphrase = func() ([]byte, error) { return nil, errors.New("it asks for the confirm passphrase") }
	p.openWith(o)
}

// devices is the list by the device's own ledger.
func (p *person) devices() []device.DeviceInfo {
	p.w.t.Helper()
	all, err := p.Devices(context.Background())
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	return all
}

// A device is added by one that is alone, a third by both; each then opens and
// writes what the others do, and all copies are the same.
func TestFurtherDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	second := w.further("phone", ann)
	withConfirms(t, func() { second.wantSecret("site", "secret") }, ann)
	second.add("there", "new")
	ann.sync()
	withConfirms(t, func() { ann.wantSecret("there", "new") }, second)

	third := w.further("tablet", second, ann)
	syncAll(ann, second, third)
	if a, b, c := ann.Head(), second.Head(), third.Head(); a != b || b != c {
		t.Fatalf("heads %v, %v, %v", a, b, c)
	}
	syncAll(ann, second, third)
	names := map[uint64]string{}
	for _, info := range third.devices() {
		names[info.Number] = info.Name
		if info.Status != ledger.Active || !info.Proof.Has || info.This != (info.Number == 3) {
			t.Errorf("%+v", info)
		}
	}
	if names[1] != "first device" || names[2] != "phone" || names[3] != "tablet" {
		t.Errorf("%v", names)
	}
	withConfirms(t, func() { third.wantSecret("there", "new") }, second)

	// Names: one's own alone, another's with a third device.
	if info, err := third.RenameDevice(context.Background(), 3, "slate"); err != nil || info.Name != "slate" {
		t.Fatalf("%+v, %v", info, err)
	}
	withConfirms(t, func() {
		if info, err := third.RenameDevice(context.Background(), 2, "pocket"); err != nil || info.Name != "pocket" {
			t.Fatalf("%+v, %v", info, err)
		}
	}, ann)
	ann.sync()
	if all := ann.devices(); all[1].Name != "pocket" || all[2].Name != "slate" {
		t.Errorf("%+v", all)
	}
	if r, err := ann.VerifyLedger(context.Background()); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// Nothing is endorsed, and nothing stays behind, when the words are not the same:
// the server named another account than the one in the other hand.
func TestServerNamesAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, eve := w.person("ann", nil), w.person("eve", nil)
	j := w.startJoin(eve, func(_ *device.Options, o *device.JoinOptions) { o.AccountPhrase = ann.AccountPhrase() })
	<-j.done
	if !errors.Is(j.err, device.ErrPhrase) {
		t.Fatal(j.err)
	}
	wantCode(t, j.err, device.CodeDishonest)
	if _, err := os.Stat(j.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// The person looks at other words than the device that asks: nothing is added.
func TestWrongWordsAddNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ctx := context.Background()
	_, err := ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: "academic acid acne acquire acrobat activity actress adapt"})
	wantCode(t, err, device.CodeNotFound)
	j := w.startJoin(ann, nil)
	head := ann.Head()
	_, err = ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: "academic acid acne acquire acrobat activity actress adapt"})
	if !errors.Is(err, device.ErrPhrase) {
		t.Fatal(err)
	}
	asked := 0
	_, err = ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Compare: func(seen device.JoiningDevice) (bool, error) {
		asked++
		if seen.Phrases != j.shown.Phrases {
			t.Errorf("%+v here and %+v there", seen.Phrases, j.shown.Phrases)
		}
		return false, nil
	}})
	if !errors.Is(err, device.ErrPhrase) || asked != 1 || ann.Head() != head {
		t.Fatal(asked, err)
	}
	// Its code, as a camera reads it, picks it as well.
	if _, err = ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Code: j.shown.Code[:60], Phrase: j.shown.Phrases.Device}); err == nil {
		t.Fatal("half a code")
	}
	wantCode(t, err, device.CodeUsage)
	if _, err = ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Code: strings.ToLower(j.shown.Code), Phrase: j.shown.Phrases.Device}); err != nil {
		t.Fatal(explained(err))
	}
	if got := j.added().devices()[1].Name; got != "device 2" {
		t.Errorf("it is called %q", got)
	}
}

// Strangers who know the account's name make devices ask: the words still pick the
// owner's.
func TestFloodOfJoiningDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ctx, stop := context.WithCancel(context.Background())
	for range 4 {
		w.joinIn(ctx, ann, filepath.Join(t.TempDir(), "stranger"), nil)
	}
	j := w.startJoin(ann, nil)
	_, err := ann.ApproveDevice(ctx, device.ApproveDeviceOptions{Compare: func(device.JoiningDevice) (bool, error) { return true, nil }})
	wantCode(t, err, device.CodeUsage)
	ann.approveDevice(j, "phone")
	j.added()
	stop()
	if n := len(ann.devices()); n != 2 {
		t.Errorf("%d devices", n)
	}
}

// Two devices that add the same new one at the same moment do not wait for each
// other until both give up.
func TestTwoApproveAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.further("phone", ann)
	j := w.startJoin(ann, nil)
	var group sync.WaitGroup
	for _, p := range []*person{ann, second} {
		group.Go(func() {
			info, err := p.ApproveDevice(context.Background(), device.ApproveDeviceOptions{Phrase: j.shown.Phrases.Device})
			if err != nil || info.Number != 3 {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
	group.Wait()
	third := j.added()
	syncAll(ann, second, third)
	if ann.Head() != third.Head() || len(ann.devices()) != 3 {
		t.Errorf("%d devices", len(ann.devices()))
	}
}

// A new device that is stopped anywhere goes on with the same keys.
func TestInterruptedJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	dir := filepath.Join(t.TempDir(), "further")
	ctx, stop := context.WithCancel(context.Background())
	first := w.joinIn(ctx, ann, dir, nil)
	stop()
	<-first.done
	if !errors.Is(first.err, context.Canceled) {
		t.Fatal(first.err)
	}
	if _, err := device.Open(context.Background(), dir, []byte(passphrase), w.options()); !errors.Is(err, device.ErrJoining) {
		t.Fatal(err)
	}
	w.wait(2 * time.Hour) // the request is too old, and the server has forgotten it
	second := w.joinIn(context.Background(), ann, dir, nil)
	if first.shown.Phrases != second.shown.Phrases || first.shown.Code == second.shown.Code {
		t.Fatalf("%+v, then %+v", first.shown, second.shown)
	}
	ann.approveDevice(second, "phone")
	second.added()
}

// cut fails every request for a procedure from the nth on.
type cut struct {
	procedure string
	mu        sync.Mutex
	left      int
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/"+c.procedure) {
		c.mu.Lock()
		c.left--
		gone := c.left < 0
		c.mu.Unlock()
		if gone {
			return nil, errors.New("cut")
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// diesEndorsed leaves the directory of a new device that has endorsed and was added,
// and died before it read the ledger, and how it ended.
func (w *world) diesEndorsed(owner *person) (dir string, err error) {
	w.t.Helper()
	dir = filepath.Join(w.t.TempDir(), "further")
	ctx, stop := context.WithCancel(context.Background())
	first := w.joinIn(ctx, owner, dir, func(o *device.Options, _ *device.JoinOptions) {
		o.HTTP = &http.Client{Transport: &cut{procedure: "Entries"}}
	})
	owner.approveDevice(first, "phone")
	stop()
	<-first.done
	return dir, first.err
}

// It has endorsed and dies before it reads the ledger: the account has it, and it
// finds that out.
func TestJoinDiesAfterEndorsing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	dir, err := w.diesEndorsed(ann)
	if err == nil {
		t.Fatal("it was added without a ledger")
	}
	w.wait(2 * time.Hour)
	second := w.joinIn(context.Background(), ann, dir, nil)
	phone := second.added()
	withConfirms(t, func() { phone.wantSecret("site", "secret") }, ann)
}

// It dies while it stores the ledger, and has but the first entries, without itself.
func TestJoinDiesWhileItStoresTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	dir, _ := w.diesEndorsed(ann)
	whole, err := os.ReadFile(filepath.Join(ann.dir, "ledger"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ledger"), whole[:len(whole)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	second := w.joinIn(context.Background(), ann, dir, nil)
	phone := second.added()
	withConfirms(t, func() { phone.wantSecret("site", "secret") }, ann)
}
