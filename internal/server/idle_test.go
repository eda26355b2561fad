package server_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// idleServer says which server this program is when it was started as one.
const idleServer = "ZEROPASS_TEST_IDLE_SERVER"

// used is the memory of a process.
type used struct{ Heap, Stacks, Resident int64 }

// serveIdle is a server in a process of its own: "watch" is this one, "empty" one of
// Connect alone whose streams say nothing after their first message. It prints its
// address, and its memory for each line that it reads.
func serveIdle(kind string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var h *http.Server
	switch kind {
	case "empty":
		mux := http.NewServeMux()
		mux.Handle(apiv1connect.ServerServiceWatchProcedure, connect.NewServerStreamHandler(apiv1connect.ServerServiceWatchProcedure,
			func(ctx context.Context, _ *connect.Request[apiv1.SignedRequest], out *connect.ServerStream[apiv1.Hint]) error {
				if err := out.Send(&apiv1.Hint{}); err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			}))
		h = &http.Server{Handler: mux}
	case "watch":
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		database, err := sqlite.Open(context.Background(), dir+"/server.db")
		if err != nil {
			return err
		}
		keys, err := server.GenerateKeys(rand.Reader)
		if err != nil {
			return err
		}
		log := slog.New(slog.DiscardHandler)
		noise, err := entropy.New(entropy.Config{System: rand.Reader, AllowOS: true, Log: log})
		if err != nil {
			return err
		}
		s, err := server.New(context.Background(), server.Config{Store: database, Keys: keys, Now: time.Now, Rand: rand.Reader, Entropy: noise, Log: log})
		if err != nil {
			return err
		}
		h = server.NewHTTPServer(s.Handler(), log)
	}
	go func() { _ = h.Serve(listener) }()
	fmt.Println(listener.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := json.NewEncoder(os.Stdout).Encode(memoryInUse()); err != nil {
			return err
		}
	}
	return h.Close()
}

func memoryInUse() used {
	for range 4 { // each halves stacks that are too large
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	pages := strings.Fields(string(must(os.ReadFile("/proc/self/statm"))))[1]
	return used{int64(m.HeapAlloc), int64(m.StackInuse), must(strconv.ParseInt(pages, 10, 64)) * int64(os.Getpagesize())}
}

// idle is such a server, seen from outside.
type idle struct {
	b       *testing.B
	in      io.Writer
	out     *bufio.Reader
	address string
	server  *recordv1.Server
	client  *client.Client
}

func startIdle(b *testing.B, kind string) *idle {
	b.Helper()
	command := exec.Command(must(os.Executable()))
	command.Env = append(os.Environ(), idleServer+"="+kind, "TMPDIR="+b.TempDir())
	command.Stderr = os.Stderr
	in, out := must(command.StdinPipe()), must(command.StdoutPipe())
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := command.Wait(); err != nil {
			b.Error(err)
		}
	})
	s := &idle{b: b, in: in, out: bufio.NewReader(out)}
	if _, err := fmt.Fscanln(s.out, &s.address); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *idle) used() (u used) {
	s.b.Helper()
	must(io.WriteString(s.in, "\n"))
	if err := json.Unmarshal(must(s.out.ReadBytes('\n')), &u); err != nil {
		s.b.Fatal(err)
	}
	return u
}

// open opens one stream over a connection of its own.
func (s *idle) open(r *apiv1.SignedRequest) *listening {
	message := must(proto.Marshal(r))
	c := must(net.Dial("tcp", s.address))
	s.b.Cleanup(func() { _ = c.Close() })
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/connect+proto\r\nConnect-Protocol-Version: 1\r\nContent-Length: %d\r\n\r\n",
		apiv1connect.ServerServiceWatchProcedure, s.address, len(message)+5)
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	must(c.Write(append([]byte(head), body...)))
	l := &listening{connection: c}
	if got := l.hears(s.b); !strings.HasPrefix(got, "HTTP/1.1 200") {
		s.b.Fatalf("got %q", got)
	}
	return l
}

// listening is one open stream, without buffers of its own.
type listening struct{ connection net.Conn }

// hears returns what comes next.
func (l *listening) hears(b *testing.B) string {
	b.Helper()
	if err := l.connection.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := l.connection.Read(buffer)
	if err != nil {
		b.Fatalf("the stream ended: %v", err)
	}
	return string(buffer[:n])
}

// perStream returns what streams take, each.
func (s *idle) perStream(n int, open func(i int) *listening) (used, []*listening) {
	before := s.used()
	var all []*listening
	for i := range n {
		all = append(all, open(i))
	}
	after := s.used()
	return used{(after.Heap - before.Heap) / int64(n), (after.Stacks - before.Stacks) / int64(n), (after.Resident - before.Resident) / int64(n)}, all
}

// devices makes accounts of one device each.
func (s *idle) devices(n int) []api.Identity {
	s.b.Helper()
	var all []api.Identity
	for i := range n {
		key := must(signing.GenerateKey(rand.Reader))
		entry := must(ledger.Draft{Time: time.Now(), Author: 1, Records: [][]byte{must(ledger.NewRecord(&recordv1.Genesis{
			Server: &recordv1.Server{Url: "http://localhost", SignKey: s.server.SignKey, SealKey: s.server.SealKey},
			Device: &recordv1.DeviceKeys{
				SignKey: key.PublicKey().Bytes(), SealKey: must(hpke.GenerateKey(rand.Reader)).PublicKey().Bytes(),
				ConfirmKey: must(signing.GenerateKey(rand.Reader)).PublicKey().Bytes(), Generation: 1, SealedName: []byte("name"),
			},
			Policy: &recordv1.Policy{RevealsPerHour: 5, RevealsPerDay: 8},
		}))}}.Sign(key))
		id, _ := entry.Account()
		if _, _, err := s.client.CreateAccount(s.b.Context(), api.Identity{Key: key}, &apiv1.CreateAccountRequest{Name: fmt.Sprint("account", i), Entry: entry.Bytes()}); err != nil {
			s.b.Fatal(err)
		}
		all = append(all, api.Identity{Account: &id, Device: 1, Key: key})
	}
	return all
}

// BenchmarkIdleStreams opens ten thousand streams of hints, and as many of a handler
// of Connect that does nothing, each over a connection of its own, and prints what
// each takes of their servers' memory. Then it wakes all of the former.
func BenchmarkIdleStreams(b *testing.B) {
	const streams, each = 10_000, 8
	for range b.N {
		empty := startIdle(b, "empty")
		bare, all := empty.perStream(streams, func(int) *listening { return empty.open(&apiv1.SignedRequest{}) })
		for _, l := range all { // or there are too many files
			_ = l.connection.Close()
		}

		s := startIdle(b, "watch")
		s.server = must(client.Identify(b.Context(), nil, "http://"+s.address, rand.Reader))
		pinned := must(signing.NewPublicKey(s.server.SignKey))
		s.client = must(client.New(nil, "http://"+s.address, pinned, rand.Reader, time.Now))
		devices := s.devices(streams / each)
		var one used
		one, all = s.perStream(streams, func(i int) *listening {
			r, _, err := api.NewRequest(apiv1connect.ServerServiceWatchProcedure, pinned, devices[i/each], &apiv1.WatchRequest{}, time.Now(), rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			return s.open(r)
		})
		for _, d := range devices {
			if _, err := s.client.SeedHalf(b.Context(), d, &apiv1.SeedHalfRequest{Nonce: nonce()}); err != nil {
				b.Fatal(err)
			}
		}
		for _, l := range all {
			l.hears(b)
		}
		for name, v := range map[string][2]int64{"heap": {one.Heap, bare.Heap}, "stacks": {one.Stacks, bare.Stacks}, "resident": {one.Resident, bare.Resident}} {
			b.ReportMetric(float64(v[0]), name+"-B/stream")
			b.ReportMetric(float64(v[1]), name+"-B/empty-stream")
		}
		b.ReportMetric(float64(one.Heap+one.Stacks-bare.Heap-bare.Stacks), "B/stream-above-empty")
		b.ReportMetric(float64(one.Resident-bare.Resident), "resident-B/stream-above-empty")
	}
}
