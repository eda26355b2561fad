package systemtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/logtest"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/postgres"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// asNode in the environment makes the test binary one of several servers over one
// database, so that it can be killed.
const asNode = "ZEROPASS_TEST_NODE"

// nodeSettings is what asNode holds, as JSON.
type nodeSettings struct {
	Database string
	KeyFile  string
	Clock    string // file with how far the world's time is ahead
	Log      string // file that all nodes write
}

// node serves until its input ends, and prints its address first.
func node(encoded string) error {
	var settings nodeSettings
	if err := json.Unmarshal([]byte(encoded), &settings); err != nil {
		return err
	}
	ctx := context.Background()
	database, err := postgres.Open(ctx, postgres.Config{URL: settings.Database, AllowLoss: true})
	if err != nil {
		return err
	}
	keys, err := server.ReadKeys(settings.KeyFile)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(settings.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	noise, err := entropy.New(entropy.Config{System: rand.Reader, AllowOS: true, Log: log})
	if err != nil {
		return err
	}
	s, err := server.New(ctx, server.Config{
		Store: database, Keys: keys, Rand: rand.Reader, Entropy: noise, Log: log,
		Now: func() time.Time { return time.Now().Add(ahead(settings.Clock)) },
	})
	if err != nil {
		return err
	}
	go s.Deliver(ctx)
	fmt.Println(httptest.NewServer(s.Handler()).Listener.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// ahead is zero while there is no file.
func ahead(file string) time.Duration {
	b, _ := os.ReadFile(file)
	d, _ := time.ParseDuration(string(b))
	return d
}

// nodes are three servers over one database, behind a proxy that gives each
// request to the next of them. Its world's devices know the proxy alone.
type nodes struct {
	*world
	postgres *postgrestest.Server
	name     string // of the database
	line     *line
	settings nodeSettings

	mu        sync.Mutex
	addresses [3]string // empty while one is down
	processes [3]*exec.Cmd
	turn      int
	only      atomic.Int32 // answers everything, -1 for all in turn
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := &nodes{world: &world{t: t, dir: t.TempDir(), keys: keys}, postgres: postgrestest.Start(t, postgrestest.Options{})}
	n.only.Store(-1)
	n.name = n.postgres.Database(t)
	n.line = newLine(t, n.postgres.URL(n.name))
	n.settings = nodeSettings{Database: n.line.url, KeyFile: filepath.Join(n.dir, "keys"), Clock: filepath.Join(n.dir, "clock"), Log: filepath.Join(n.dir, "log")}
	t.Cleanup(func() { // after the nodes have ended
		text, err := os.ReadFile(n.settings.Log)
		must(t, err)
		logtest.CheckPostgres(t, text, n.postgres.URL(n.name), unsaid(t, keys)...)
	})
	if err := server.WriteKeys(n.settings.KeyFile, keys); err != nil {
		t.Fatal(err)
	}
	for i := range n.processes {
		n.run(i)
		t.Cleanup(func() { n.kill(i) })
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "node" },
		Transport:     n,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		proxy.CloseClientConnections()
		proxy.Close()
	})
	n.address = proxy.Listener.Addr().String()
	return n
}

// run starts a node.
func (n *nodes) run(i int) {
	n.t.Helper()
	encoded, err := json.Marshal(n.settings)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asNode+"="+string(encoded))
	cmd.Stderr = os.Stderr
	_, inErr := cmd.StdinPipe() // it ends with this process
	out, err := cmd.StdoutPipe()
	if err := errors.Join(inErr, err); err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		n.t.Fatalf("node %d does not start: %v", i, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.processes[i], n.addresses[i] = cmd, strings.TrimSpace(address)
}

// kill ends a node in the middle of whatever it does.
func (n *nodes) kill(i int) {
	n.mu.Lock()
	cmd := n.processes[i]
	n.processes[i], n.addresses[i] = nil, ""
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "signal: killed"
	}
}

// wait lets time pass for everybody, the nodes too.
func (n *nodes) wait(d time.Duration) {
	n.t.Helper()
	n.world.wait(d)
	made := n.settings.Clock + " new"
	err := os.WriteFile(made, []byte(n.offset.String()), 0o600)
	if err := errors.Join(err, os.Rename(made, n.settings.Clock)); err != nil {
		n.t.Fatal(err)
	}
}

// next returns the address of the node whose turn it is.
func (n *nodes) next() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if only := n.only.Load(); only >= 0 {
		return n.addresses[only]
	}
	for range n.addresses {
		n.turn = (n.turn + 1) % len(n.addresses)
		if n.addresses[n.turn] != "" {
			break
		}
	}
	return n.addresses[n.turn]
}

// RoundTrip passes a request on, to another node only where the first took no
// connection.
func (n *nodes) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	for range n.addresses {
		var answer *http.Response
		again := r.Clone(r.Context())
		again.URL.Host, again.Body = n.next(), io.NopCloser(bytes.NewReader(body))
		if answer, err = http.DefaultTransport.RoundTrip(again); err == nil {
			return answer, nil
		}
		var network *net.OpError
		if !errors.As(err, &network) || network.Op != "dial" {
			return nil, err
		}
	}
	return nil, err
}

// line is what connects the nodes with PostgreSQL, and can be cut.
type line struct {
	url  string
	mu   sync.Mutex
	open map[net.Conn]bool
	cuts int
}

func newLine(t *testing.T, direct string) *line {
	t.Helper()
	l := &line{open: map[net.Conn]bool{}}
	l.url = postgrestest.Between(t, direct, l.connect)
	t.Cleanup(l.cut)
	return l
}

func (l *line) connect(client, database net.Conn) {
	l.mu.Lock()
	l.open[client] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, client)
	}()
	go func() {
		_, _ = io.Copy(client, database) // until one of both ends
		_ = client.Close()
	}()
	_, _ = io.Copy(database, client) // as above
}

// cut ends all connections that there are.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for client := range l.open {
		_ = client.Close()
		l.cuts++
	}
}
