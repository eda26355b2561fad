package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
)

// listens serves the world as the real program does.
func (w *world) listens() (address string) {
	w.t.Helper()
	h := server.NewHTTPServer(w.server.Handler(), slog.New(slog.DiscardHandler))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- h.Serve(listener) }()
	w.t.Cleanup(func() {
		w.ok(h.Close())
		<-served
	})
	// Requests of the world go there from now on.
	w.http.URL = "http://" + listener.Addr().String()
	return listener.Addr().String()
}

// holds opens a connection, writes something, and keeps it.
func (w *world) holds(address, write string) net.Conn {
	c, err := net.Dial("tcp", address)
	w.ok(err)
	w.t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, write) // it may be closed already, as it should be
	return c
}

func posts(procedure, headers string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\n%s\r\n", procedure, headers)
}

// Thousands of clients that say nothing, or never end, or do not read: whoever locks
// a device is heard.
func TestSlowClients(t *testing.T) {
	const many = 400
	for name, hold := range map[string]func(w *world, address string, i int){
		"silent connections": func(w *world, address string, _ int) { w.holds(address, "") },
		"headers without an end": func(w *world, address string, _ int) {
			w.holds(address, "POST / HTTP/1.1\r\nHost: x\r\nX-Long: ")
		},
		"bodies that do not come": func(w *world, address string, _ int) {
			w.holds(address, posts(apiv1connect.ServerServiceEntriesProcedure, "Content-Length: 1000\r\n")+"some")
		},
		"large bodies that do not come": func(w *world, address string, _ int) {
			w.holds(address, posts(apiv1connect.ServerServiceAppendProcedure, "Content-Length: 40000000\r\n")+strings.Repeat("x", 70<<10))
		},
		"chunks without an end": func(w *world, address string, _ int) {
			w.holds(address, posts(apiv1connect.ServerServiceRevealProcedure, "Transfer-Encoding: chunked\r\n")+"4\r\nsome\r\n")
		},
		"huge lengths": func(w *world, address string, _ int) {
			w.holds(address, posts(apiv1connect.ServerServiceAppendProcedure, "Content-Length: 99999999999\r\n")+"some")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			owner, _ := w.family()
			second := owner.addDevice()
			address := w.listens()
			for i := range many {
				hold(w, address, i)
			}
			for _, a := range w.server.Admissions() {
				if a.Working+a.Queued > 0 {
					t.Errorf("%d have places, %d wait for one: %s", a.Working, a.Queued, a.Class)
				}
			}
			owner.add(&recordv1.DeviceLocked{Device: second.number})
		})
	}
}

// Streams of one HTTP/2 connection that are begun and reset as fast as can be, and
// such whose bodies never come, hold up nobody.
func TestRapidReset(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	second := owner.addDevice()
	address := w.listens()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for ctx.Err() == nil {
				one, reset := context.WithTimeout(ctx, time.Millisecond)
				body, hold := io.Pipe()
				r := must(http.NewRequestWithContext(one, http.MethodPost, "http://"+address+apiv1connect.ServerServiceRevealProcedure, body))
				r.Header.Set("Content-Type", "application/proto")
				if answer, err := transport.RoundTrip(r); err == nil {
					_ = answer.Body.Close()
				}
				reset()
				_ = hold.Close()
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	cancel()
	group.Wait()
}

// What is compressed is not unpacked: a small body may hold gigabytes.
func TestCompressedBody(t *testing.T) {
	w := newWorld(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	must(z.Write(make([]byte, 32<<20)))
	w.ok(z.Close())
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, w.http.URL+apiv1connect.ServerServiceAppendProcedure, &bomb))
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Content-Encoding", "gzip")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	answer := must(w.http.Client().Do(r))
	w.ok(answer.Body.Close())
	runtime.ReadMemStats(&after)
	if answer.StatusCode != http.StatusNotImplemented {
		t.Errorf("the answer is %s", answer.Status)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

// A client that does not read its answers holds no place.
func TestAnswersThatAreNotRead(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	for i := range 20 {
		owner.store(byte(i+1), 1, strings.Repeat("x", 40<<10))
	}
	d := owner.first()
	address := w.listens()
	before := w.admission("daily")
	for range 100 {
		signed, _, err := api.NewRequest(apiv1connect.ServerServiceEntriesProcedure, w.keys.SignKey(), d.identity(), &apiv1.EntriesRequest{Nonce: nonce()}, w.clock(), rand.Reader)
		w.ok(err)
		request := must(proto.Marshal(signed))
		w.holds(address, posts(apiv1connect.ServerServiceEntriesProcedure, fmt.Sprintf("Content-Length: %d\r\n", len(request)))+string(request))
	}
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now := w.admission("daily")
		admitted, shed := now.Admitted-before.Admitted, now.Shed-before.Shed
		if admitted+shed == 100 && now.Working+now.Queued == 0 && admitted > 0 { // a slow machine has no time for some
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d were admitted, %d refused; %d hold places", admitted, shed, now.Working+now.Queued)
		}
	}
	owner.store(50, 1, "another")
}
