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
	"testing/synctest"
	"time"
)

// coming is a body that comes when a test says so, and ends when its deadline is over.
type coming struct {
	http.ResponseWriter
	*io.PipeReader
	more *io.PipeWriter
}

func newComing() *coming {
	r, w := io.Pipe()
	return &coming{httptest.NewRecorder(), r, w}
}

// SetReadDeadline is for [http.ResponseController].
func (c *coming) SetReadDeadline(at time.Time) error {
	if !at.After(time.Now()) {
		return c.CloseWithError(errors.New("too late"))
	}
	return nil
}

func (c *coming) request(length int64) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", c.PipeReader)
	r.ContentLength, r.RemoteAddr = length, "127.0.0.1:1"
	return r
}

func TestBodies(t *testing.T) {
	for _, length := range []int{0, 1, 4 << 10, 4<<10 + 1, smallRequest, smallRequest + 1, 1 << 20} {
		for _, declared := range []bool{true, false} {
			in := &intake{}
			want := bytes.Repeat([]byte("z"), length)
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(want))
			if r.RemoteAddr = "192.0.2.1:1"; !declared {
				r.ContentLength = -1
			}
			b, err := in.read(newComing(), r, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			large, held := 0, int64(0)
			if length >= smallRequest {
				large, held = 1, int64(length)
			}
			if in.large != large || in.held != held {
				t.Errorf("%d bytes, declared %v: %d large bodies, %d bytes held", length, declared, in.large, in.held)
			}
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d of %d bytes, %v", len(got), length, err)
			}
			b.release()
			if in.large != 0 || in.held != 0 || len(in.byRemote) != 0 || in.coming.Len() != 0 {
				t.Errorf("%d bytes: something is held: %+v", length, in)
			}
			if r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(append(want, make([]byte, 1<<20)...))), -1; length > 0 {
				if _, err := in.read(newComing(), r, 1<<20); !errors.Is(err, errBody) {
					t.Errorf("too much: %v", err)
				}
			}
		}
	}
}

// A body that breaks off is not taken for a shorter one.
func TestBodiesThatBreakOff(t *testing.T) {
	for _, length := range []int64{-1, 1000, 100 << 10} {
		for _, end := range []error{io.ErrUnexpectedEOF, io.EOF} {
			in := &intake{}
			body := newComing()
			go func() {
				_, _ = body.more.Write([]byte("some"))
				_ = body.more.CloseWithError(end)
			}()
			b, err := in.read(body, body.request(length), 1<<20)
			if whole := length < 0 && end == io.EOF; (err == nil) != whole {
				t.Errorf("of %d bytes, ended with %v: %v", length, end, err)
			}
			if err == nil {
				b.release()
			}
			if in.coming.Len() != 0 {
				t.Error("it still comes")
			}
		}
	}
}

// A body ends that comes too slowly, however it does.
func TestSlowBodiesEnd(t *testing.T) {
	for name, c := range map[string]struct {
		length int64
		first  int // what comes at once, and then a byte a second
	}{
		"a declared one": {1000, 10},
		"a large one":    {1 << 20, 100 << 10},
		"one in chunks":  {-1, 10},
		"large chunks":   {-1, 300 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := &intake{}
				body := newComing()
				var sender sync.WaitGroup
				sender.Go(func() {
					_, err := body.more.Write(make([]byte, c.first))
					for ; err == nil; _, err = body.more.Write([]byte("z")) {
						time.Sleep(time.Second)
					}
				})
				begun := time.Now()
				_, err := in.read(body, body.request(c.length), 2<<20)
				if took := time.Since(begun); !errors.Is(err, errSlowBody) || took != pieceTime {
					t.Errorf("%v after %v", err, took)
				}
				if in.held != 0 || in.large != 0 || in.coming.Len() != 0 {
					t.Errorf("something is held: %+v", in)
				}
				sender.Wait()
			})
		})
	}
}

// A body that gave way is not counted again for what of it had come before.
func TestABodyThatGaveWay(t *testing.T) {
	in := &intake{most: 256 << 10}
	slow := newComing()
	gone := make(chan error)
	request := slow.request(1 << 20)
	request.RemoteAddr = "198.51.100.1:1"
	go func() {
		// As net/http does, it gives what it has before it says that the time is over.
		_, err := in.read(stubborn{slow}, request, 1<<20)
		gone <- err
	}()
	piece := bytes.Repeat([]byte("z"), smallRequest)
	for range 3 {
		if _, err := slow.more.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	// The third piece is taken; that it is counted shows in the fourth, which begins.
	if _, err := slow.more.Write(piece[:1]); err != nil {
		t.Fatal(err)
	}
	other := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 128<<10)))
	other.RemoteAddr = "203.0.113.1:1"
	b, err := in.read(newComing(), other, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if in.held != 128<<10 || in.large != 1 {
		t.Errorf("%d bytes of %d bodies are held", in.held, in.large)
	}
	b.release() // there is room again, but not for a body that was given up
	if _, err := slow.more.Write(piece[1:]); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-gone:
		if !errors.Is(err, errSlowBody) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is read on")
	}
	if in.held != 0 || in.large != 0 || len(in.byRemote) != 0 || in.coming.Len() != 0 {
		t.Errorf("something is held: %+v", in)
	}
}

// Large bodies that wait for a place, of a few networks, keep nobody's first one out.
func TestLargeBodiesThatWait(t *testing.T) {
	in := &intake{}
	read := func(remote int) *body {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, smallRequest)))
		r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", remote)
		b, err := in.read(newComing(), r, 1<<20)
		if err != nil && !errors.Is(err, errManyBytes) {
			t.Error(err)
		}
		return b
	}
	var waiting []*body
	for i := range maxLarge {
		waiting = append(waiting, read(i/largeRemote))
	}
	for i := range firstLarge {
		first := read(100 + i)
		if first == nil {
			t.Fatalf("the first one of network %d is refused", i)
		}
		if second := read(100 + i); second != nil {
			t.Fatalf("network %d has two", i)
		}
		waiting = append(waiting, first)
	}
	if read(99) != nil {
		t.Error("there is no bound")
	}
	for _, b := range waiting {
		b.release()
	}
	if in.large != 0 || in.held != 0 || len(in.byRemote) != 0 {
		t.Errorf("something is held: %+v", in)
	}
}

// stubborn is a body that goes on after its time.
type stubborn struct{ *coming }

func (stubborn) SetReadDeadline(time.Time) error { return nil }

// One body more than may come ends the one that has come the longest.
func TestTheOldestBodyEnds(t *testing.T) {
	in := &intake{}
	ended := make(chan string, maxReading+1)
	var all []*coming
	for i := range maxReading + 1 {
		body := newComing()
		all = append(all, body)
		go func() {
			_, err := in.read(body, body.request(1000), 1000)
			ended <- fmt.Sprint(i, " ", errors.Is(err, errSlowBody))
		}()
		if _, err := body.more.Write([]byte("z")); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-ended; got != "0 true" {
		t.Errorf("%q ended", got)
	}
	for _, body := range all {
		_ = body.more.CloseWithError(io.ErrUnexpectedEOF)
	}
	for range maxReading {
		<-ended
	}
	if in.large != 0 || in.held != 0 || in.coming.Len() != 0 {
		t.Errorf("something is held: %+v", in)
	}
}
