package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
)

const adminLoopback = "--admin-listen=127.0.0.1:0"

// get returns status and body of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestMonitored(t *testing.T) {
	p := start(t, t.TempDir(), loopback, adminLoopback)
	o := newOwnerNamed(t, p.URL, "Ada Lovelace")
	_, err := client.Identify(t.Context(), nil, p.URL, rand.Reader)
	o.must(err)
	c := o.client(p.URL)
	_, _, err = c.CreateAccount(t.Context(), api.Identity{Key: o.sign}, &apiv1.CreateAccountRequest{Name: "Bob", Entry: []byte{1}})
	if !errors.Is(err, api.ErrEntryRefused) {
		t.Fatal(err)
	}
	for page, want := range map[string]string{"/livez": "alive\n", "/readyz": "ready\n"} {
		if code, body := get(t, p.AdminURL+page); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", page, code, body)
		}
		if code, _ := get(t, p.URL+page); code != http.StatusNotFound {
			t.Errorf("%s is public: %d", page, code)
		}
	}
	code, metrics := get(t, p.AdminURL+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, metrics)
	}
	for _, want := range []string{
		`zeropass_requests_total{procedure="CreateAccount",reason="ok"} 1`,
		`zeropass_requests_total{procedure="CreateAccount",reason="entry_refused"} 1`,
		`zeropass_request_duration_seconds_count{procedure="Append"} 2`,
		`zeropass_requests_in_flight 0`, `zeropass_requests_shed_total{class="urgent"} 0`, `zeropass_requests_queued{class="reveal"} 0`, `zeropass_streams 0`, `zeropass_ready 1`, `zeropass_accounts 1`,
		`zeropass_outbox_deliveries 0`, `zeropass_outbox_oldest_age_seconds 0`,
		`zeropass_store_commits_total `,
		`zeropass_entropy_source_sound{source="jitter"`, `zeropass_build_info{version=`, `go_goroutines`, `process_open_fds`,
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	for _, some := range []string{
		`zeropass_store_transactions_total{kind="change",result="ok"}`, `zeropass_store_transactions_total{kind="read",result="ok"}`,
		`zeropass_store_transaction_duration_seconds_count{kind="change"}`, `zeropass_store_transaction_duration_seconds_count{kind="read"}`,
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(some) + ` [1-9]`).MatchString(metrics) {
			t.Errorf("%s has counted nothing", some)
		}
	}
	guide := must[[]byte](t)(os.ReadFile("../../docs/operations.md"))
	explained := regexp.MustCompile("(?m)^\\| `(zeropass_\\w+)").FindAllSubmatch(guide, -1)
	if len(explained) < 15 {
		t.Errorf("the guide explains %d metrics", len(explained))
	}
	names := []string{"zeropass_changes_behind_seconds", "zeropass_certificate_expiry_timestamp_seconds"} // not here
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (zeropass_\w+)`).FindAllStringSubmatch(metrics, -1) {
		names = append(names, found[1])
		if !bytes.Contains(guide, []byte("\n| `"+found[1])) {
			t.Errorf("the guide does not explain %s", found[1])
		}
	}
	for _, found := range explained {
		if !slices.Contains(names, string(found[1])) {
			t.Errorf("the guide explains %s, which is not there", found[1])
		}
	}
	if code, _ := get(t, p.URL+"/metrics"); code != http.StatusNotFound {
		t.Errorf("the metrics are public: %d", code)
	}
	p.stop(t)
	p.stderr.WriteString(metrics) // for checkSaid
}

func TestAdminIsNotForThePublic(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:9440": "not for the public", ":9440": "not for the public", "203.0.113.7:9440": "not for the public",
		"zeropass.example:9440": "not for the public", "127.0.0.1": "not an address", "127.0.0.1:8440": "the same address",
	} {
		if err := checkAdmin(address, "127.0.0.1:8440"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:9440", "[::1]:9440", "localhost:9440", "10.0.0.7:9440", "[fd00::7]:9440"} {
		if err := checkAdmin(address, "127.0.0.1:8440"); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// held is a request whose body comes late.
type held struct {
	body     *io.PipeWriter
	answered chan *http.Response // closed if there is no answer
}

// hold begins a request and waits until the server has it.
func (p *process) hold(t *testing.T) *held {
	t.Helper()
	reader, writer := io.Pipe()
	h := &held{body: writer, answered: make(chan *http.Response, 1)}
	go func() {
		defer close(h.answered)
		if response, err := http.Post(p.URL+apiv1connect.ServerServiceIdentifyProcedure, "application/json", reader); err == nil {
			h.answered <- response
		}
	}()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, metrics := get(t, p.AdminURL+"/metrics"); strings.Contains(metrics, "\nzeropass_requests_in_flight 1\n") {
			return h
		}
		if time.Now().After(until) {
			t.Fatal("the request did not arrive")
		}
	}
}

// A server that stops says so first, then ends what is under way and refuses the
// rest.
func TestGracefulStop(t *testing.T) {
	p := start(t, t.TempDir(), loopback, adminLoopback, "--drain=300ms")
	o := newOwner(t, p.URL)
	c := o.client(p.URL)
	watching := make(chan error, 1)
	hints := make(chan struct{}, 100)
	go func() {
		watching <- c.Watch(context.Background(), o.identity(), func(apiv1.Hint_Kind) { hints <- struct{}{} })
	}()
	<-hints // the stream is open
	h := p.hold(t)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if code, body := get(t, p.AdminURL+"/readyz"); code == http.StatusServiceUnavailable && body == "the server stops\n" {
			break
		}
		if time.Now().After(until) {
			t.Fatal("/readyz goes on")
		}
	}
	o.pull(c)  // during the drain all is as before
	<-watching // the server ends it
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := c.Entries(t.Context(), o.identity(), &apiv1.EntriesRequest{Nonce: make([]byte, 16)}); errors.Is(err, api.ErrUnavailable) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("new requests are not refused")
		}
	}
	_, _ = io.WriteString(h.body, `{"nonce":"AAAAAAAAAAAAAAAAAAAAAA=="}`)
	_ = h.body.Close()
	response := <-h.answered
	if response == nil || response.StatusCode != http.StatusOK {
		t.Errorf("what was under way ends with %v", response)
	} else {
		_ = response.Body.Close()
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, p.stderr)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	p := start(t, t.TempDir(), loopback, adminLoopback)
	h := p.hold(t)
	defer h.body.Close()
	begun := time.Now()
	for range 100 {
		if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || time.Since(begun) > stopTime/2 {
		t.Errorf("it ends with %v after %v", err, time.Since(begun))
	}
}

func TestSystemd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	says := func() string {
		t.Helper()
		b := make([]byte, 200)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "100000")
	p := start(t, t.TempDir(), loopback)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if have := says(); have != want {
			t.Errorf("it says %q, not %q", have, want)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for have := says(); have != "STOPPING=1"; have = says() {
		if have != "WATCHDOG=1" {
			t.Errorf("it says %q", have)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A new certificate is served without a stop, and one that does not fit is not.
func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	old := certificate(t, dir)
	p := start(t, dir, loopback, adminLoopback, "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	knows := func(pool *x509.CertPool) bool {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: pool})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	if !knows(old) {
		t.Fatal("the first certificate is not served")
	}
	if _, metrics := get(t, p.AdminURL+"/metrics"); !strings.Contains(metrics, "\nzeropass_certificate_expiry_timestamp_seconds ") {
		t.Error("nobody sees when it expires")
	}
	hangup := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	next := certificate(t, dir)
	hangup()
	for until := time.Now().Add(10 * time.Second); !knows(next); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the new certificate is not served")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	if !knows(next) {
		t.Error("a certificate that does not fit took the place of a good one")
	}
	p.stop(t)
	if !strings.Contains(p.stderr.String(), "the one before it is used") {
		t.Errorf("the log does not say so:\n%s", p.stderr)
	}
}

// Traces leave where OpenTelemetry's environment says, and name nobody.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var sent strings.Builder
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		sent.WriteString(r.URL.Path + " ")
		sent.Write(body)
	}))
	defer receiver.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	p := start(t, t.TempDir(), loopback)
	o := newOwnerNamed(t, p.URL, "Ada Lovelace")
	_, _, err := o.client(p.URL).CreateAccount(t.Context(), api.Identity{Key: o.sign}, &apiv1.CreateAccountRequest{Name: "Bob", Entry: []byte{1}})
	if !errors.Is(err, api.ErrEntryRefused) {
		t.Fatal(err)
	}
	p.stop(t) // what waits is sent
	mu.Lock()
	defer mu.Unlock()
	text := sent.String()
	for _, want := range []string{"/v1/traces ", "zeropass-server", "CreateAccount", "Append", "FAILED_PRECONDITION"} {
		if !strings.Contains(text, want) {
			t.Errorf("the traces lack %q", want)
		}
	}
	p.stderr.WriteString(text) // for checkSaid
	if strings.Contains(text, "127.0.0.1") {
		t.Error("the traces have an address")
	}
}

// A token registers one account at a server that wants one.
func TestRegistrationToken(t *testing.T) {
	dir := t.TempDir()
	data := []string{"--data", filepath.Join(dir, "data")}
	p := start(t, dir, loopback, "--registration=token")
	cmd := exec.Command(os.Args[0], append([]string{"token", "create", "--json"}, data...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var made tokenView
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	token := must[[]byte](t)(hex.DecodeString(made.Token))
	o := unregistered(t, p.URL)
	if err := o.register(p.URL, "Ada", nil); !errors.Is(err, api.ErrRegistrationClosed) {
		t.Errorf("without a token it ends with %v", err)
	}
	o.must(o.register(p.URL, "Ada", token))
	if err := unregistered(t, p.URL).register(p.URL, "Bob", token); !errors.Is(err, api.ErrRegistrationClosed) {
		t.Errorf("with a used token it ends with %v", err)
	}
	p.stop(t)
	if strings.Contains(p.stderr.String(), made.Token) {
		t.Error("the log has the token")
	}
}
