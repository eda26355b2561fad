package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
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
			if declared && length > smallRequest && (in.large != 1 || in.held < smallRequest) {
				t.Errorf("%d bytes: %d large bodies, %d bytes held", length, in.large, in.held)
			}
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d of %d bytes, %v", len(got), length, err)
			}
			b.release()
			if in.large != 0 || in.held != 0 || len(in.byRemote) != 0 || in.readers.Len() != 0 {
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
	if in.large != 0 || in.held != 0 || in.readers.Len() != 0 {
		t.Errorf("something is held: %+v", in)
	}
}
