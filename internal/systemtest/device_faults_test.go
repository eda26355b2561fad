package systemtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
)

// fault is a network that fails once: at the nth request, either before the
// server sees it or after the server has done it.
type fault struct {
	at, seen int
	after    bool
}

var errCut = errors.New("the line was cut")

func (f *fault) RoundTrip(r *http.Request) (*http.Response, error) {
	f.seen++
	if f.seen == f.at && !f.after {
		return nil, errCut
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if f.seen == f.at && err == nil {
		_ = response.Body.Close()
		return nil, errCut
	}
	return response, err
}

func (w *world) faulty(f *fault) device.Options {
	o := w.options()
	o.HTTP = &http.Client{Transport: f}
	return o
}

// eachFault runs a subtest for every request that do makes, cut before and after
// the server, until do makes fewer requests than that.
func (w *world) eachFault(t *testing.T, do func(t *testing.T, f *fault) (failed bool)) {
	t.Helper()
	const most = 60
	for n := 1; n < most; n++ {
		failed := false
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("request %d, after %v", n, after), func(t *testing.T) {
				parent := w.t
				w.t = t
				defer func() { w.t = parent }()
				failed = do(t, &fault{at: n, after: after}) || failed
			})
		}
		if !failed {
			if n < 3 {
				t.Fatal("nothing was asked of the server")
			}
			return
		}
	}
	t.Fatalf("still failing after %d requests", most)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(to, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestInitGoesOnAfterEveryCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := 0
	w.eachFault(t, func(t *testing.T, f *fault) bool {
		n++
		i := device.InitOptions{
			Dir: filepath.Join(t.TempDir(), "home"), ServerURL: w.url(), Name: fmt.Sprintf("person %d", n), UnlockCost: 1,
			Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
		}
		d, _, err := device.Init(context.Background(), w.faulty(f), i)
		failed := err != nil
		if failed {
			wantCode(t, err, device.CodeUnreachable)
			w.wait(time.Hour) // and what was signed is out of date
			if d, _, err = device.Init(context.Background(), w.options(), i); err != nil {
				t.Fatalf("again: %s", explained(err))
			}
		}
		defer func() { _ = d.Close() }()
		f.at = 0
		st, err := d.Status(context.Background())
		if err != nil || st.Epoch != 1 || st.Recoverable {
			t.Fatalf("%+v, %v", st, err)
		}
		if r, err := d.Add(context.Background(), login("first", "secret")); err != nil || !r.Accepted {
			t.Fatalf("%+v, %v", r, err)
		}
		if h := d.Head(); h.Sequence != 4 { // Genesis, EpochPrepared, the server's receipt, the slot
			t.Fatalf("head %v", h)
		}
		return failed
	})
}

func TestRecoveryGoesOnAfterEveryCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, contacts := w.household("ann")
	ann.add("site", "secret")
	ann.add("other", "words")
	ann.sync()
	ann.close()
	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, contacts[:2]...)
	w.wait(waiting + time.Minute)
	contacts[0].sync()
	contacts[1].sync()
	anew.close()
	data := w.backup()

	w.eachFault(t, func(t *testing.T, f *fault) bool {
		w.restore(data)
		p := &person{w: w, name: "ann", dir: filepath.Join(t.TempDir(), "home")}
		copyDir(t, anew.dir, p.dir)
		d, err := device.Open(context.Background(), p.dir, []byte(passphrase), w.faulty(f))
		if err != nil {
			t.Fatal(explained(err))
		}
		h := &handed{}
		_, err = d.RecoverFinish(context.Background(), device.FinishOptions{HandOver: h.take})
		failed := err != nil
		if failed {
			wantCode(t, err, device.CodeUnreachable)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		w.wait(10 * time.Minute)
		p.reopen()
		defer p.close()
		if failed {
			again, _ := p.finish()
			if again.calls+h.calls == 0 {
				t.Fatal("nobody got the secrets")
			}
		}
		if h.calls > 0 && (h.password("site") != "secret" || len(h.items) != 2) {
			t.Fatalf("%d items were handed over", len(h.items))
		}
		st, err := p.Status(context.Background())
		if err != nil || !st.Recoverable || st.Device != 2 || st.Epoch != 1 || st.Next == nil || st.Next.Epoch != 2 || st.Next.Unsplit != 0 {
			t.Fatalf("%+v, %v", st, err)
		}
		p.wantSecret("site", "secret")
		p.add("new", "after all")
		p.sync()
		return failed
	})
}
