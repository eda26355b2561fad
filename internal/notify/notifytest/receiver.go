package notifytest

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Post is one request that a webhook's receiver got.
type Post struct {
	Header http.Header
	Body   []byte
}

// Receiver is a webhook's receiver.
type Receiver struct {
	URL string
	TLS *tls.Config // trusts its certificate; nil without TLS

	mu     sync.Mutex
	status int
	posts  []Post
}

// NewReceiver starts a receiver, which ends with the test.
func NewReceiver(t *testing.T, secure bool) *Receiver {
	t.Helper()
	r := &Receiver{status: http.StatusNoContent}
	s := httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	if secure {
		s.StartTLS()
		r.TLS = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	r.URL = s.URL + "/hook"
	return r
}

func (r *Receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts = append(r.posts, Post{request.Header, body})
	if r.status/100 == 3 {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(r.status)
}

// Posts returns what came so far.
func (r *Receiver) Posts() []Post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Post(nil), r.posts...)
}

// Answer sets the status that the receiver answers with.
func (r *Receiver) Answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// VerifyWebhook checks a post as its receiver does, by the text of Standard
// Webhooks and without the code that signed it.
func VerifyWebhook(secret string, p Post, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	stamp := p.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("the timestamp %q is not now", stamp)
	}
	// HMAC by its definition, RFC 2104, for a key of at most a block.
	pad := func(b byte) []byte {
		block := make([]byte, sha256.BlockSize)
		copy(block, key)
		for i := range block {
			block[i] ^= b
		}
		return block
	}
	inner := sha256.Sum256(slices.Concat(pad(0x36), []byte(p.Header.Get("webhook-id")+"."+stamp+"."), p.Body))
	outer := sha256.Sum256(slices.Concat(pad(0x5c), inner[:]))
	if want := "v1," + base64.StdEncoding.EncodeToString(outer[:]); p.Header.Get("webhook-signature") != want {
		return fmt.Errorf("the signature is %q, want %q", p.Header.Get("webhook-signature"), want)
	}
	return nil
}
