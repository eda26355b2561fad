package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// slowBody is a body that comes up to a size, and then only when it is let go on.
type slowBody struct {
	left  int
	ended chan struct{}
	once  sync.Once
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.ended
		return 0, errors.New("the deadline is over")
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

func (b *slowBody) Close() error { return nil }

// slowWriter is where the answer to it would go.
type slowWriter struct {
	*httptest.ResponseRecorder
	body *slowBody
}

// SetReadDeadline is what [http.ResponseController] calls.
func (w slowWriter) SetReadDeadline(time.Time) error {
	w.body.once.Do(func() { close(w.body.ended) })
	return nil
}

// Bodies that never end, by count or by size, from as few networks as it takes, keep
// nobody's out: the last step of a recovery has one that is large.
func TestSlowBodiesKeepNobodyOut(t *testing.T) {
	for name, c := range map[string]struct{ remotes, each, size int }{
		"many":  {maxLarge / largeRemote, largeRemote, smallRequest},
		"large": {2, 6, 900 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			in := &intake{most: 10 << 20}
			var slow sync.WaitGroup
			var bodies []*slowBody
			for i := range c.remotes * c.each {
				b := &slowBody{left: c.size, ended: make(chan struct{})}
				bodies = append(bodies, b)
				slow.Go(func() {
					r := httptest.NewRequest(http.MethodPost, "/", b)
					r.ContentLength, r.RemoteAddr = 48<<20, fmt.Sprintf("198.51.100.%d:1", i%c.remotes)
					if read, err := in.read(slowWriter{httptest.NewRecorder(), b}, r, 48<<20); err == nil {
						t.Error("a body that never ended was read")
						read.release()
					}
				})
			}
			until := time.Now().Add(30 * time.Second)
			for full := func() bool {
				in.mu.Lock()
				defer in.mu.Unlock()
				return in.large >= maxLarge || in.held > 9<<20
			}; !full(); time.Sleep(time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("there is room for more slow bodies")
				}
			}
			honest := bytes.Repeat([]byte{1}, 2<<20)
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(honest))
			r.RemoteAddr = "203.0.113.9:1"
			b, err := in.read(slowWriter{httptest.NewRecorder(), bodies[0]}, r, 48<<20)
			if err != nil {
				t.Errorf("an honest body: %v", err)
			} else {
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, honest) {
					t.Errorf("%d bytes were read, %v", len(got), err)
				}
				b.release()
			}
			for _, b := range bodies {
				b.once.Do(func() { close(b.ended) })
			}
			slow.Wait()
			if in.large != 0 || in.held != 0 || len(in.byRemote) != 0 || in.coming.Len() != 0 {
				t.Errorf("%d bodies with %d bytes are left, %d readers", in.large, in.held, in.coming.Len())
			}
		})
	}
}
