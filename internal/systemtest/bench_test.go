package systemtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/signing"
)

// asServer in the environment makes the test binary a server over the directory
// that it names, so that what it uses is counted apart from its devices.
const asServer = "ZEROPASS_BENCH_SERVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asServer); dir != "" {
		if err := benchServer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if settings := os.Getenv(asNode); settings != "" {
		if err := node(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// counting is a store that counts what becomes durable in a reveal.
type counting struct {
	store.Store
	commits atomic.Int64
}

func (c *counting) count(err error) error {
	if err == nil {
		c.commits.Add(1)
	}
	return err
}

func (c *counting) Keep(ctx context.Context, k store.Keeping) (store.Kept, error) {
	kept, err := c.Store.Keep(ctx, k)
	return kept, c.count(err)
}

func (c *counting) Reply(ctx context.Context, r store.Replying) error {
	return c.count(c.Store.Reply(ctx, r))
}

func (c *counting) Log(ctx context.Context, a store.Answer) error {
	return c.count(c.Store.Log(ctx, a))
}

func (c *counting) Attest(ctx context.Context, a store.Attestation) error {
	return c.count(c.Store.Attest(ctx, a))
}

func (c *counting) Append(ctx context.Context, a store.Append) error {
	return c.count(c.Store.Append(ctx, a))
}

// benchServer prints its address, and answers each line of its input: "day" lets a
// day pass, "figures" gets requests, commits and processor time so far.
func benchServer(dir string) error {
	ctx := context.Background()
	database, err := sqlite.Open(ctx, filepath.Join(dir, "server.db"))
	if err != nil {
		return err
	}
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		return err
	}
	noise, err := entropy.New(entropy.Config{System: rand.Reader, AllowOS: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	var days, requests atomic.Int64
	counted := &counting{Store: database}
	s, err := server.New(ctx, server.Config{
		Store: counted, Keys: keys, Rand: rand.Reader, Entropy: noise, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(days.Load()) * day) },
	})
	if err != nil {
		return err
	}
	handler := s.Handler()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler.ServeHTTP(w, r)
	}))
	fmt.Println(h.URL)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "day" {
			days.Add(1)
		}
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return err
		}
		fmt.Println(requests.Load(), counted.commits.Load(), used.Utime.Nano()+used.Stime.Nano())
	}
	return nil
}

// served is such a server, seen from its devices.
type served struct {
	b    *testing.B
	url  string
	in   io.Writer
	out  *bufio.Reader
	days atomic.Int64
}

type figures struct{ requests, commits, cpu int64 }

func serve(b *testing.B) *served {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asServer+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the server: %v", err)
		}
	})
	s := &served{b: b, in: in, out: bufio.NewReader(out)}
	if _, err := fmt.Fscanln(s.out, &s.url); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *served) tell(word string) (f figures) {
	s.b.Helper()
	if _, err := fmt.Fprintln(s.in, word); err != nil {
		s.b.Fatal(err)
	}
	if _, err := fmt.Fscanln(s.out, &f.requests, &f.commits, &f.cpu); err != nil {
		s.b.Fatal(err)
	}
	return f
}

// aDay lets a day pass for everybody, so that the policy's limits begin anew.
func (s *served) aDay() {
	s.tell("day")
	s.days.Add(1)
}

func (s *served) options() device.Options {
	return device.Options{
		Now:               func() time.Time { return time.Now().Add(time.Duration(s.days.Load()) * day) },
		ConfirmPassphrase: func() ([]byte, error) { return []byte(confirmPassphrase), nil },
	}
}

// account makes one with a first device.
func (s *served) account(o device.Options) *device.Device {
	s.b.Helper()
	d, _, err := device.Init(context.Background(), o, device.InitOptions{
		Dir: filepath.Join(s.b.TempDir(), "first"), ServerURL: s.url, Name: "ann", UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	})
	if err != nil {
		s.b.Fatal(explained(err))
	}
	return d
}

// further adds a device to the account of a lonely one. It calls begin when both
// show the words, which people would compare now.
func (s *served) further(by *device.Device, begin func()) *device.Device {
	s.b.Helper()
	ctx := context.Background()
	shown, done := make(chan device.JoinShown, 1), make(chan *device.Device, 1)
	go func() {
		d, _, err := device.Join(ctx, s.options(), device.JoinOptions{
			Dir: filepath.Join(s.b.TempDir(), "further"), ServerURL: s.url, Name: "ann", UnlockCost: 1,
			Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase), AccountPhrase: by.AccountPhrase(),
			Show: func(j device.JoinShown) error { shown <- j; return nil },
		})
		if err != nil {
			s.b.Error(explained(err))
			close(shown)
		}
		done <- d
	}()
	j := <-shown
	begin()
	if _, err := by.ApproveDevice(ctx, device.ApproveDeviceOptions{Phrase: j.Phrases.Device}); err != nil {
		s.b.Fatal(explained(err))
	}
	d := <-done
	if d == nil {
		s.b.FailNow()
	}
	return d
}

// curve is how long the bare operations take that every program of this kind needs.
type curve struct{ sign, verify, seal time.Duration }

func measureCurve(b *testing.B) curve {
	b.Helper()
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	to, err := hpke.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	context := signing.NewContext("api-request").Bytes(make([]byte, 200))
	signature := key.Sign(context)
	each := func(do func()) time.Duration {
		const times = 2000
		start := time.Now()
		for range times {
			do()
		}
		return time.Since(start) / times
	}
	return curve{
		sign:   each(func() { key.Sign(context) }),
		verify: each(func() { key.PublicKey().Verify(context, signature) }),
		seal: each(func() {
			if _, err := hpke.Seal(rand.Reader, to.PublicKey(), nil, nil, make([]byte, 200)); err != nil {
				b.Fatal(err)
			}
		}),
	}
}

// BenchmarkReveal reveals one secret on loopback, confirmed at once by the other
// device. x-curve is the server's processor time as a multiple of the bare curve
// operations in it: one signature and one verification for every request, two
// verifications of the confirmation, when it comes and when it counts, and sealing
// the share to the device.
func BenchmarkReveal(b *testing.B) {
	s := serve(b)
	ctx := context.Background()
	var laptop, phone *device.Device
	o := s.options()
	o.Waiting = func(device.Waiting) {
		if phone == nil {
			return // the new device answers for itself
		}
		if _, err := phone.ConfirmPending(ctx, ""); err != nil {
			b.Error(explained(err))
		}
	}
	laptop = s.account(o)
	defer func() { _ = laptop.Close() }()
	if _, err := laptop.Add(ctx, login("bank", "secret")); err != nil {
		b.Fatal(explained(err))
	}
	joined := s.further(laptop, func() {})
	defer func() { _ = joined.Close() }()
	phone = joined
	bare := measureCurve(b)
	var used figures
	for i := 0; b.Loop(); i++ {
		if i%40 == 0 {
			b.StopTimer()
			s.aDay()
			b.StartTimer()
		}
		before := s.tell("figures")
		if _, err := laptop.Get(ctx, "bank"); err != nil {
			b.Fatal(explained(err))
		}
		after := s.tell("figures")
		used.requests += after.requests - before.requests
		used.commits += after.commits - before.commits
		used.cpu += after.cpu - before.cpu
	}
	n := float64(b.N)
	operations := float64(used.requests)*float64(bare.sign+bare.verify) + n*float64(2*bare.verify+bare.seal)
	b.ReportMetric(float64(used.requests)/n, "requests/op")
	b.ReportMetric(float64(used.commits)/n, "commits/op")
	b.ReportMetric(float64(used.cpu)/n/1e3, "server-µs/op")
	b.ReportMetric(operations/n/1e3, "curve-µs/op")
	b.ReportMetric(float64(used.cpu)/operations, "x-curve")
}

// BenchmarkNewDevice brings 10,000 secrets to a new device, from the moment at which
// its words were compared: it is added, replicates the ledger, folds it, and then
// verifies all of it from the disk, every slot key and every device share. x-checks
// is that as a multiple of one bare signature check for each secret.
func BenchmarkNewDevice(b *testing.B) {
	const secrets = 10_000
	s := serve(b)
	ctx := context.Background()
	first := s.account(s.options())
	defer func() { _ = first.Close() }()
	items := make([]device.Item, secrets)
	for i := range items {
		items[i] = login(fmt.Sprintf("site %d", i), "a password of some length")
	}
	if r, err := first.Import(ctx, items); err != nil || !r.Accepted {
		b.Fatal(r, err)
	}
	bare := measureCurve(b)
	var added, verified time.Duration
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		var start time.Time
		d := s.further(first, func() {
			start = time.Now()
			b.StartTimer()
		})
		added += time.Since(start)
		start = time.Now()
		r, err := d.VerifyLedger(ctx)
		verified += time.Since(start)
		b.StopTimer()
		if err != nil || !r.OK() || r.Slots != secrets {
			b.Fatal(r, err)
		}
		// The first device is alone again, and may add another one, when the waiting
		// period has passed.
		if _, err := first.LockDevice(ctx, uint64(i)+2); err != nil {
			b.Fatal(explained(err))
		}
		for range 4 {
			s.aDay()
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(added.Seconds()/n, "s-added/op")
	b.ReportMetric(verified.Seconds()/n, "s-verified/op")
	b.ReportMetric(float64(added+verified)/n/secrets/float64(bare.verify), "x-checks")
}
