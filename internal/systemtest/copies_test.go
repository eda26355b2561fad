package systemtest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// secondDevice adds a device to an account with one.
func (w *world) secondDevice(owner *person) *person {
	w.t.Helper()
	ctx := context.Background()
	p := &person{w: w, name: owner.name, dir: filepath.Join(w.t.TempDir(), "second")}
	shown, done := make(chan device.JoinShown, 1), make(chan error, 1)
	go func() {
		d, _, err := device.Join(ctx, w.options(), device.JoinOptions{
			Dir: p.dir, ServerURL: w.url(), Name: owner.name, UnlockCost: 1,
			Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
			Show:    func(s device.JoinShown) error { shown <- s; return nil },
			Compare: func(device.DevicePhrases) (bool, error) { return true, nil },
		})
		p.Device = d
		done <- err
	}()
	select {
	case s := <-shown:
		if _, err := owner.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: s.Phrases.Device}); err != nil {
			w.t.Fatal(explained(err))
		}
	case err := <-done:
		w.t.Fatal(explained(err))
	}
	if err := <-done; err != nil {
		w.t.Fatal(explained(err))
	}
	w.t.Cleanup(p.close)
	owner.sync()
	p.sync()
	owner.sync()
	return p
}

// otherHost is a network that leads to another server than the one that is asked
// for.
type otherHost struct{ w *world }

func (n otherHost) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = n.w.address, n.w.address
	return http.DefaultTransport.RoundTrip(r)
}

// branch is a server with the same keys and a copy of the data: what a dishonest
// server keeps to show somebody another history.
func (w *world) branch() *world {
	w.t.Helper()
	other := &world{t: w.t, dir: w.t.TempDir(), keys: w.keys, offset: w.offset}
	must(w.t, os.WriteFile(other.database(), w.backup(), 0o600))
	other.start()
	w.t.Cleanup(other.stopServer)
	return other
}

// shownBy opens a device's directory over the network of another server.
func (p *person) shownBy(w *world) {
	p.w.t.Helper()
	p.close()
	o := p.w.options()
	o.HTTP = &http.Client{Transport: otherHost{w}}
	d, err := device.Open(context.Background(), p.dir, []byte(passphrase), o)
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	p.Device = d
}

// passOn gives a server an attestation by a device that has another history than
// the server shows. An honest one takes none.
func (w *world) passOn(text string) {
	w.t.Helper()
	a := parseHead(w.t, text)
	w.stopServer()
	defer w.start()
	s, err := sqlite.Open(context.Background(), w.database())
	must(w.t, err)
	must(w.t, s.Attest(context.Background(), store.Attestation{
		Spend:   store.Spend{Key: w.keys.SignKey().Bytes(), Nonce: random(w.t, 16), Now: w.now(), Expires: w.now().Add(time.Hour)},
		Account: a.Account(), Device: a.Holder().GetNumber(), Sequence: a.Head().Sequence, Bytes: a.Bytes(),
	}))
	must(w.t, s.Close())
}

var headEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// headText writes the text of a head as the specification says.
func headText(signed []byte) string {
	return "zeropass-head-1:" + strings.ToLower(headEncoding.EncodeToString(signed))
}

func parseHead(t *testing.T, text string) *ledger.Attestation {
	t.Helper()
	b, err := headEncoding.DecodeString(strings.ToUpper(strings.TrimPrefix(text, "zeropass-head-1:")))
	must(t, err)
	a, err := ledger.ParseAttestation(b)
	must(t, err)
	return a
}

func (p *person) head() string {
	p.w.t.Helper()
	h, err := p.HeadText(context.Background())
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	return h.Text
}

func (p *person) compare(text string) *device.Comparison {
	p.w.t.Helper()
	c, err := p.CompareHead(context.Background(), text)
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	return c
}

func (p *person) warnings() string {
	p.w.t.Helper()
	return strings.Join(p.status().Warnings, "\n")
}

// wantStopped fails the test unless the device has stopped, for this cause, and
// says so everywhere.
func (p *person) wantStopped(cause error, words string) {
	t := p.w.t
	t.Helper()
	ctx := context.Background()
	before := p.Head()
	for _, again := range []string{"", "in another run"} {
		_, err := p.Sync(ctx)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), words) {
			t.Fatalf("sync %s: %v", again, err)
		}
		wantCode(t, err, device.CodeDishonest)
		_, err = p.Add(ctx, login("more", "x"))
		wantCode(t, err, device.CodeDishonest)
	}
	if p.Head() != before {
		t.Error("a device that has stopped has written")
	}
	st := p.status()
	if !st.Fork || st.Recoverable || !strings.Contains(p.warnings(), words) {
		t.Errorf("%+v", st)
	}
	v, err := p.VerifyLedger(ctx)
	if err != nil || v.OK() || !strings.Contains(v.Stop, words) {
		t.Errorf("%+v, %v", v, err)
	}
	names, err := os.ReadDir(filepath.Join(p.dir, "evidence"))
	if err != nil || !slices.ContainsFunc(names, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "device-") }) {
		t.Errorf("no evidence: %v, %v", names, err)
	}
}

// copyOf is what status says of another device's copy.
func (p *person) copyOf(number uint64) device.Proof {
	p.w.t.Helper()
	for _, c := range p.status().Copies {
		if c.Kind == "device" && c.Number == number {
			return c
		}
	}
	p.w.t.Fatalf("status does not name device %d", number)
	return device.Proof{}
}

// A server that shows two devices different histories is found by the first
// attestation that it passes on.
func TestTwoHistoriesAreFoundThroughTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.secondDevice(ann)
	if c := ann.copyOf(2); !c.Current || c.Lags != 0 {
		t.Fatalf("%+v", c)
	}
	other := w.branch()
	second.shownBy(other)
	ann.add("here", "on one branch")
	second.add("there", "on the other")
	second.add("there too", "which is longer")
	ann.sync()
	second.sync() // neither can know
	text := ann.head()
	second.sync()
	other.passOn(text)
	second.wantStopped(device.ErrFork, "device 1 has another history")

	// The first device's history is a prefix of nothing here, though shorter than what
	// the second attests: as long as that goes on, the server withholds something.
	w.passOn(second.head())
	ann.wantStopped(device.ErrWithheld, "withholds entry")

	// The server was restored after all, its operator says: the second device follows,
	// proves the common history, and the first goes on.
	other.stopServer()
	second.reopen()
	_, err := second.Sync(context.Background())
	wantCode(t, err, device.CodeDishonest)
	if _, err := second.FollowServer(context.Background()); err != nil {
		t.Fatal(explained(err))
	}
	second.add("more", "on the common branch")
	second.sync()
	ann.sync()
	if st := ann.status(); st.Fork || !ann.copyOf(2).Current {
		t.Errorf("%+v", st)
	}
	second.sync()
	if second.status().Fork {
		t.Error("the second device is still stopped")
	}
	if mustFind(t, ann.Device, "there too").Version != 1 {
		t.Error("what the second device had written is lost")
	}
}

// Where the server passes nothing on, the heads that people carry from one device
// to the other find two histories, however old the newest common entry is.
func TestTwoHistoriesAreFoundDirectly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.secondDevice(ann)
	w.stopServer() // comparing works without the server
	if c := ann.compare(second.head()); c.Match != device.SameHead || c.Device != 2 {
		t.Fatalf("%+v", c)
	}
	old := second.head()
	w.start()
	other := w.branch()
	second.shownBy(other)
	for _, title := range []string{"one", "two", "three", "four"} {
		ann.add(title, "x")
	}
	second.add("there", "x")
	if c := ann.compare(strings.ToUpper(old)); c.Match != device.HeadIsOld {
		t.Fatalf("%+v", c)
	}
	if c := second.compare(ann.head()); c.Match != device.HeadIsNew {
		t.Fatalf("%+v", c)
	}
	second.sync()
	if !strings.Contains(second.warnings(), "device 1 has shown entries") {
		t.Errorf("warnings %q", second.warnings())
	}
	c := ann.compare(second.head())
	if c.Match != device.HeadForks {
		t.Fatalf("%+v", c)
	}
	wantCode(t, c.Stop, device.CodeDishonest)
	ann.reopen()
	ann.wantStopped(device.ErrFork, "device 2 has another history")

	// What was ahead decides as soon as the entries at its place have come.
	for _, title := range []string{"five", "six", "seven"} {
		second.add(title, "x")
	}
	second.wantStopped(device.ErrFork, "device 1 has another history")
}

// A server that shows a device no new entries is found by another device's
// attestation, and what it withheld counts when it comes.
func TestAServerThatWithholdsEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.secondDevice(ann)
	other := w.branch()
	second.shownBy(other)
	ann.add("new", "x")
	ann.add("newer", "x")
	ann.sync()
	second.sync()
	if c := second.compare(ann.head()); c.Match != device.HeadIsNew {
		t.Fatalf("%+v", c)
	}
	second.sync() // may have been restored: a warning
	if !strings.Contains(second.warnings(), "withholds them") {
		t.Errorf("warnings %q", second.warnings())
	}
	other.passOn(ann.head())
	second.wantStopped(device.ErrWithheld, "withholds entries")
	other.restore(w.backup())
	second.sync()
	if st := second.status(); st.Fork || second.Head() != ann.Head() || strings.Contains(second.warnings(), "withholds") {
		t.Errorf("%+v", st)
	}
	second.add("goes on", "x")
}

// A device that attests an old copy, or nothing at all, is named.
func TestADeviceThatLagsIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	second := w.secondDevice(ann)
	ann.add("new", "x")
	ann.sync()
	if c := ann.copyOf(2); c.Lags != 1 || c.Since.IsZero() || c.Stale {
		t.Errorf("%+v", c)
	}
	w.wait(2 * time.Hour)
	ann.compare(second.head()) // it has not synced for two hours
	if !strings.Contains(ann.warnings(), "device 2 lags") {
		t.Errorf("warnings %q", ann.warnings())
	}
	w.wait(91 * 24 * time.Hour)
	ann.sync()
	if c := ann.copyOf(2); !c.Stale || !strings.Contains(ann.warnings(), "device 2: not recently proved") {
		t.Errorf("%+v, %q", c, ann.warnings())
	}
	second.sync()
	ann.sync()
	if c := ann.copyOf(2); c.Stale || !c.Current || strings.Contains(ann.warnings(), "device 2") {
		t.Errorf("%+v, %q", c, ann.warnings())
	}
}

// What is no head of another active device of the account decides nothing.
func TestHeadsThatProveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	bob := w.person("bob", nil)
	second := w.secondDevice(ann)
	th := w.thiefOf(second)
	sign := func(change func(*recordv1.Attestation), key *signing.PrivateKey) string {
		account, head := ann.Account(), ann.Head()
		a := &recordv1.Attestation{
			Account: account[:], Epoch: 1, Sequence: head.Sequence, Head: random(t, 32), Time: uint64(w.now().UnixMilli()),
			Nonce: random(t, 16), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 2},
		}
		change(a)
		var b []byte
		var err error
		if key != nil {
			b, err = ledger.NewAttestation(a, key)
		} else {
			b, err = ledger.NewAttestation(a, th.keys.Sign)
		}
		must(t, err)
		return headText(b)
	}
	for name, c := range map[string]struct {
		text string
		code device.Code
	}{
		"nothing":         {"", device.CodeUsage},
		"something else":  {"zeropass-invite-1:AAAA", device.CodeUsage},
		"a part":          {second.head()[:100], device.CodeUsage},
		"its own":         {ann.head(), device.CodeUsage},
		"another account": {bob.head(), device.CodeUsage},
		"another key":     {sign(func(*recordv1.Attestation) {}, key(t)), device.CodeFailed},
		"no such device":  {sign(func(a *recordv1.Attestation) { a.Holder.Number = 3 }, nil), device.CodeFailed},
		"a contact":       {sign(func(a *recordv1.Attestation) { a.Holder.Kind = recordv1.Holder_KIND_MEMBER }, nil), device.CodeUsage},
	} {
		_, err := ann.CompareHead(ctx, c.text)
		var e *device.Error
		if !errors.As(err, &e) || e.Code != c.code || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A device that was locked may be a thief's: it stops nobody.
	if _, err := ann.LockDevice(ctx, 2); err != nil {
		t.Fatal(explained(err))
	}
	_, err := ann.CompareHead(ctx, sign(func(*recordv1.Attestation) {}, nil))
	wantCode(t, err, device.CodeFailed)
	w.passOn(sign(func(*recordv1.Attestation) {}, nil))
	ann.sync()
	if ann.status().Fork {
		t.Error("a locked device has stopped another one")
	}
}

// share returns the key of a share that a contact holds, and its place.
func (th *thief) share() (*signing.PrivateKey, *recordv1.ShareEnvelope) {
	th.w.t.Helper()
	all, err := th.home.Held()
	must(th.w.t, err)
	e, err := recovery.ParseEnvelope(all[0].Envelope)
	must(th.w.t, err)
	share, err := slip39.ParseBinary(all[0].Share)
	must(th.w.t, err)
	key, err := seed.ShareKey(share, [32]byte(e.Account), e.Epoch, e.Member)
	must(th.w.t, err)
	return key, e
}

// shareOf is what status says of a contact's share.
func (p *person) shareOf(c *person) device.Proof {
	p.w.t.Helper()
	for _, s := range p.status().Shares {
		if s.Name == c.name {
			return s
		}
	}
	p.w.t.Fatalf("status does not name %s", c.name)
	return device.Proof{}
}

// A contact's proof is of the day on which its nonce was given out, whatever time it
// names, and every device of the owner can tell.
func TestContactsProofsAreOfTheirNoncesDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	second := w.secondDevice(ann)
	syncAll(contacts...)
	syncAll(ann, second)
	for _, p := range []*person{ann, second} {
		for _, c := range contacts {
			if s := p.shareOf(c); !s.Has || s.Receipt || s.Stale || w.now().Sub(s.At) > time.Hour {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
	}

	// Bob makes a proof ahead for a hundred days from now, and deletes his share. Cy
	// says nothing more. Di goes on.
	bob, cy, di := contacts[0], contacts[1], contacts[2]
	th := w.thiefOf(bob)
	sharekey, e := th.share()
	ahead := func(nonce []byte) []byte {
		stored, err := th.home.Held()
		must(t, err)
		given, err := ledger.ParseAttestation(stored[0].HeadDevice)
		must(t, err)
		if nonce == nil {
			nonce = given.Nonce()
		}
		hash := given.Head().Hash
		b, err := ledger.NewAttestation(&recordv1.Attestation{
			Account: e.Account, Epoch: e.Epoch, Sequence: given.Head().Sequence, Head: hash[:], Nonce: nonce,
			Time: uint64(w.now().Add(100 * 24 * time.Hour).UnixMilli()), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: e.Member},
		}, sharekey)
		must(t, err)
		return b
	}
	made, invented := ahead(nil), ahead(random(t, 16))
	bob.close()
	h, err := home.Open(bob.dir)
	must(t, err)
	must(t, h.Unlock([]byte(passphrase)))
	must(t, h.RemoveHeld(home.HeldID{Account: ledger.AccountID(e.Account), Epoch: e.Epoch, Member: e.Member}))
	must(t, h.Close())
	bob.reopen()
	w.wait(100 * 24 * time.Hour)
	th.send(ann, apiv1.Message_KIND_CONTACT_ATTESTATION, invented)
	if r := ann.sync(); !strings.Contains(strings.Join(r.Notes, "\n"), "none that this account gave out") {
		t.Errorf("notes %q", r.Notes)
	}
	th.send(ann, apiv1.Message_KIND_CONTACT_ATTESTATION, made)
	ann.sync()
	bob.sync() // gets the new head, and has no share that could prove anything
	di.sync()
	syncAll(ann, second)
	for _, p := range []*person{ann, second} {
		for _, c := range []*person{bob, cy} {
			if s := p.shareOf(c); !s.Stale || w.now().Sub(s.At) < 99*24*time.Hour || !strings.Contains(p.warnings(), c.name+": not recently proved") {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
		if s := p.shareOf(di); s.Stale || w.now().Sub(s.At) > time.Hour {
			t.Errorf("di: %+v", s)
		}
	}
	cy.sync()
	ann.sync()
	if s := ann.shareOf(cy); s.Stale {
		t.Errorf("cy has spoken again: %+v", s)
	}
}

// A revoked device knows the metadata keys of its time. Nonces under them count for
// the days until it was revoked, and no longer.
func TestARevokedDeviceGivesOutNoNonces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann, contacts := w.household("ann")
	second := w.secondDevice(ann)
	revoked := w.thiefOf(second)
	sealed, _, author, ok := revoked.state.GenerationKeys(1, 2)
	if !ok {
		t.Fatal("generation 1 is not sealed to device 2")
	}
	metadata, err := seed.OpenMetadataKey(revoked.keys.Seal, ann.Account(), 1, author, 2, sealed)
	must(t, err)
	if _, err := ann.LockDevice(ctx, 2); err != nil {
		t.Fatal(explained(err))
	}
	w.wait(waiting + time.Hour)
	if _, err := ann.RevokeDevice(ctx, 2); err != nil {
		t.Fatal(explained(err))
	}
	w.wait(48 * time.Hour)
	ann.sync()

	bob := w.thiefOf(contacts[0])
	sharekey, e := bob.share()
	prove := func(at time.Time) *device.SyncResult {
		account, contact, head := ann.Account(), contacts[0].Account(), ann.Head()
		// As the specification says, section 6.3.
		mac := hmac.New(sha256.New, metadata.Bytes())
		mac.Write(signing.NewContext("contact-nonce").Bytes(account[:]).Bytes(contact[:]).Bytes(head.Hash[:]).Uint(uint64(at.Unix() / 86400)).Encode())
		b, err := ledger.NewAttestation(&recordv1.Attestation{
			Account: account[:], Epoch: e.Epoch, Sequence: head.Sequence, Head: head.Hash[:], Nonce: mac.Sum(nil)[:16],
			Time: uint64(w.now().UnixMilli()), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: e.Member},
		}, sharekey)
		must(t, err)
		bob.send(ann, apiv1.Message_KIND_CONTACT_ATTESTATION, b)
		return ann.sync()
	}
	if r := prove(w.now()); !strings.Contains(strings.Join(r.Notes, "\n"), "none that this account gave out") {
		t.Errorf("notes %q", r.Notes)
	}
	before := w.now().Add(-72 * time.Hour)
	if r := prove(before); len(r.Notes) != 0 {
		t.Errorf("notes %q", r.Notes)
	}
	if s := ann.shareOf(contacts[0]); s.Receipt || w.now().Sub(s.At) < 47*time.Hour {
		t.Errorf("%+v", s)
	}
	contacts[0].sync() // with the nonce of the new generation
	ann.sync()
	if s := ann.shareOf(contacts[0]); s.Stale || w.now().Sub(s.At) > time.Hour {
		t.Errorf("%+v", s)
	}
}
