package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/logtest"
	"zeropass.dev/zeropass/internal/server"
)

// asProgram in the environment makes the test binary the program itself.
const asProgram = "ZEROPASS_SERVER_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"zeropass-server": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code,
		},
	})
}

// code runs a program and wants it to end with an exit code: code 2 PROGRAM ARGS.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARGS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	ended := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		ended = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(ended) != args[0] {
		ts.Fatalf("%v ended with %d, not %s", args[1:], ended, args[0])
	}
}

// process is the program, running.
type process struct {
	readyLine
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// start starts the program and waits until it is ready.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startOver(t, append([]string{"--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "keys")}, args...)...)
}

// startOver starts it over the data that the arguments name.
func startOver(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, os.Args[0], args...)
}

// startProgram starts this program, or another version of it.
func startProgram(t *testing.T, program string, args ...string) *process {
	t.Helper()
	args = append([]string{"serve", "--json"}, args...)
	p := &process{cmd: exec.Command(program, args...), stderr: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		p.checkSaid(t, args)
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &p.readyLine) != nil {
		_ = p.cmd.Wait()
		t.Fatalf("the server is not ready: %v %q\n%s", err, line, p.stderr)
	}
	return p
}

// checkSaid wants nothing of what is in its data in what the program said.
func (p *process) checkSaid(t *testing.T, args []string) {
	t.Helper()
	if i := slices.Index(args, "--data"); i >= 0 {
		if file := filepath.Join(args[i+1], databaseFile); exists(file) {
			logtest.CheckSQLite(t, p.stderr.Bytes(), file)
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// stop wants the program to end as a system ends it.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", err, p.stderr)
	}
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // "signal: killed"
}

const loopback = "--listen=127.0.0.1:0"

func TestServeStopsAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, loopback)
	if !p.Ready || !p.KeyFileMade {
		t.Errorf("the first start says %+v", p.readyLine)
	}
	identity, err := client.Identify(t.Context(), nil, p.URL, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", identity.SignKey); got != p.SignKey {
		t.Errorf("the server identifies with %s and said %s", got, p.SignKey)
	}
	o := newOwner(t, p.URL)
	p.stop(t)
	if left, _ := filepath.Glob(filepath.Join(dir, "data", "*-wal")); len(left) > 0 {
		t.Errorf("a clean stop leaves %v", left)
	}
	for path, want := range map[string]os.FileMode{"keys": 0o600, "data": os.ModeDir | 0o700, "data/zeropass.db": 0o600, "data/lock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v (%v), not %v", path, info.Mode(), err, want)
		}
	}

	again := start(t, dir, loopback)
	if again.KeyFileMade || again.Fingerprint != p.Fingerprint {
		t.Errorf("the second start says %+v after %+v", again.readyLine, p.readyLine)
	}
	if state, _ := o.pull(o.client(again.URL)); state.Head() != o.state.Head() {
		t.Errorf("after a stop the ledger ends with %v, not %v", state.Head(), o.state.Head())
	}
	again.stop(t)
}

func TestPlainHTTP2(t *testing.T) {
	p := start(t, t.TempDir(), loopback)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusNotFound {
		t.Errorf("got %s %s", response.Proto, response.Status)
	}
	p.stop(t)
}

// ends runs the program to its end.
func ends(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	return programEnds(t, os.Args[0], args...)
}

// programEnds runs this program, or another version of it.
func programEnds(t *testing.T, program string, args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var text bytes.Buffer
	cmd.Stderr = &text
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

func TestOneServerForOneDirectory(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, loopback)
	code, stderr := ends(t, "serve", "--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "keys"), loopback)
	if code != int(exitBusy) || !bytes.Contains([]byte(stderr), []byte("is in use by another process")) {
		t.Errorf("a second server on the directory ends with %d:\n%s", code, stderr)
	}
	// A server that is killed leaves no lock behind.
	p.kill(t)
	start(t, dir, loopback).stop(t)
}

func TestDataBelongToTheirKeyFile(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	start(t, dir, loopback).stop(t)
	start(t, other, loopback).stop(t)
	code, stderr := ends(t, "serve", "--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(other, "keys"), loopback)
	if code != int(exitFailed) || !bytes.Contains([]byte(stderr), []byte("another key file")) {
		t.Errorf("data with another's key file end with %d:\n%s", code, stderr)
	}
	if err := os.Remove(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	code, stderr = ends(t, "serve", "--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "keys"), loopback)
	if code != int(exitFailed) || !bytes.Contains([]byte(stderr), []byte("is missing")) {
		t.Errorf("data without their key file end with %d:\n%s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "keys")); !os.IsNotExist(err) {
		t.Errorf("a new key file was made for old data (%v)", err)
	}
}

// certificate writes a certificate of 127.0.0.1 and its key.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	keyDER := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	return pool
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	p := start(t, dir, loopback, "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	identity, err := client.Identify(t.Context(), &http.Client{Transport: transport}, p.URL, rand.Reader)
	if err != nil || fmt.Sprintf("%x", identity.SignKey) != p.SignKey {
		t.Errorf("over TLS the server identifies as %v, %v", identity, err)
	}
	if _, err := client.Identify(t.Context(), nil, p.URL, rand.Reader); err == nil {
		t.Error("a client took a certificate that it does not know")
	}
	p.stop(t)
}

// The program runs in this process to see that nothing of it stays behind.
func TestServeLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		o := serveOptions{data: dataOptions{dir: filepath.Join(dir, "data"), keyFile: filepath.Join(dir, "keys")}, listen: "localhost:0", json: true}
		ended <- o.serve(ctx, in, io.Discard)
	}()
	var ready readyLine
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	if _, err := client.Identify(ctx, &http.Client{Transport: transport}, ready.URL, rand.Reader); err != nil {
		t.Error(err)
	}
	transport.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The last words of a program that breaks, with a stream open and a request half
// there, are all that the runtime knows of it, and say nothing of an account;
// checkSaid looks.
func TestLastWords(t *testing.T) {
	p := start(t, t.TempDir(), loopback, adminLoopback)
	o := newOwnerNamed(t, p.URL, "Ada, Countess of Lovelace")
	defer o.listens(p.URL).stop()
	held := p.hold(t)
	if err := p.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err == nil || !bytes.Contains(p.stderr.Bytes(), []byte("SIGABRT")) {
		t.Errorf("it ends with %v:\n%s", err, p.stderr)
	}
	_ = held.body.Close() // nobody reads it
}

// When the disk has failed the server goes on answering nothing: it ends, and says
// what to do.
func TestServeEndsWhenTheStoreFails(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	d := must[*data](t)((&dataOptions{dir: filepath.Join(dir, "data"), keyFile: filepath.Join(dir, "keys")}).open(t.Context()))
	defer d.close()
	log := slog.New(slog.DiscardHandler)
	s := must[*server.Server](t)(server.New(t.Context(), server.Config{Store: d.store, Keys: d.keys, Now: time.Now, Rand: rand.Reader, Log: log}))
	failed := make(chan struct{})
	close(failed)
	err := (&running{
		server: s, health: &health{failed: failed}, http: server.NewHTTPServer(s.Handler(), log), drain: time.Hour,
		listener: must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")), manager: newSystemd(log), log: log,
	}).until(t.Context())
	var stderr bytes.Buffer
	if code := report(&stderr, err); code != exitFailed || !bytes.Contains(stderr.Bytes(), []byte("hint: Look at the disk")) {
		t.Errorf("after the store failed the server ends with %d:\n%s", code, &stderr)
	}
}

// Whenever the server is killed, what it has acknowledged is there when it
// starts again, shares with it, and what was under way is there whole or not at
// all: sent again byte for byte it is taken.
func TestKilledServerLosesNothing(t *testing.T) {
	dir := t.TempDir()
	killWhileWriting(t, 6, func() *process { return start(t, dir, loopback) }).stop(t)
}

// killWhileWriting kills the program so many times, and returns the last one.
func killWhileWriting(t *testing.T, rounds int, start func() *process) *process {
	t.Helper()
	p := start()
	o := newOwner(t, p.URL)
	acknowledged := 0
	for round := range rounds {
		c := o.client(p.URL)
		timer := time.AfterFunc(time.Duration(30+mathrand.IntN(200))*time.Millisecond, func() { _ = p.cmd.Process.Kill() })
		var pending sent
		for {
			pending = o.put(fmt.Sprintf("note %d of round %d", acknowledged, round))
			if _, err := o.append(t.Context(), c, pending); err != nil {
				if !errors.Is(err, api.ErrUnreachable) {
					t.Fatal(err)
				}
				break
			}
			o.must(o.state.Apply(pending.entry))
			acknowledged++
		}
		timer.Stop()
		_ = p.cmd.Wait() // "signal: killed"

		p = start()
		c = o.client(p.URL)
		state, missing := o.pull(c)
		if !state.Contains(o.state.Head()) {
			t.Fatalf("round %d: the server has lost entries up to %v, it has %v", round, o.state.Head(), state.Head())
		}
		if len(missing) > 0 {
			t.Fatalf("round %d: the server lacks %v", round, missing)
		}
		if _, err := o.append(t.Context(), c, pending); err != nil {
			t.Fatalf("round %d: what was under way is refused: %v", round, err)
		}
		o.must(o.state.Apply(pending.entry))
	}
	if acknowledged == 0 {
		t.Error("no append was acknowledged before the server was killed")
	}
	t.Logf("%d appends acknowledged", acknowledged)
	return p
}
