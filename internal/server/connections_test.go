package server

import (
	"fmt"
	"net"
	"net/http"
	"testing"
)

// fake is a connection with an address.
type fake struct {
	net.Conn
	address string
	closed  bool
}

func (f *fake) RemoteAddr() net.Addr {
	return must(net.ResolveTCPAddr("tcp", f.address))
}

func (f *fake) Close() error {
	f.closed = true
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Who has been silent for the longest time makes room; who asks for something stays.
func TestConnections(t *testing.T) {
	c := newConnections(3, Proxies{})
	var all []*fake
	open := func(address string) *fake {
		f := &fake{address: address}
		all = append(all, f)
		c.changed(f, http.StateNew)
		return f
	}
	asks, silent, idle := open("127.0.0.1:1"), open("127.0.0.1:2"), open("127.0.0.1:3")
	c.changed(asks, http.StateActive)
	c.changed(idle, http.StateActive)
	c.changed(idle, http.StateIdle)
	for want, others := range map[*fake][]*fake{silent: {asks, idle}} {
		open("127.0.0.1:4")
		if !want.closed {
			t.Error("the one that was silent the longest is open")
		}
		for _, f := range others {
			if f.closed {
				t.Errorf("%s was closed", f.address)
			}
		}
	}
	c.changed(silent, http.StateClosed)
	open("127.0.0.1:5")
	if !idle.closed || asks.closed {
		t.Error("another one was closed")
	}
	for _, f := range all {
		c.changed(f, http.StateClosed)
	}
	if len(c.open) != 0 || len(c.byRemote) != 0 || c.silent.Len() != 0 {
		t.Errorf("something is left: %+v", c)
	}

	// One remote has its part, and this machine is exempt.
	c = newConnections(10_000, Proxies{})
	c.rate = newRemotes(1e6, 1e6)
	closed := 0
	for i := range 1000 {
		if open(fmt.Sprintf("192.0.2.1:%d", i+1)).closed {
			closed++
		}
		if open(fmt.Sprintf("127.0.0.1:%d", i+1)).closed {
			t.Fatal("this machine is limited")
		}
	}
	if closed != 1000-remoteConnections {
		t.Errorf("%d of 1000 were closed", closed)
	}
	if open("192.0.2.2:1").closed {
		t.Error("another remote has no connection")
	}
}
