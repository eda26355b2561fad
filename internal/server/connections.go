package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Limits of connections. Where fewer files may be open than there may be
// connections, some are left for the rest of the program.
const (
	maxConnections    = 32768
	remoteConnections = 512 // of one remote; this machine is exempt, as in limits.go
	filesForOthers    = 256
)

// connections bounds how many are open. One more of a remote than it may have is
// closed at once; one more in all closes the one that has been without a request
// for the longest time, so that whoever has something to say is heard.
type connections struct {
	most, mostOfRemote int
	rate               *remotes
	proxies            Proxies

	mu       sync.Mutex
	open     map[net.Conn]*connection
	silent   list.List // of net.Conn without a request, the longest first
	byRemote map[netip.Prefix]int
	closed   uint64
}

type connection struct {
	remote netip.Prefix
	silent *list.Element // nil while there is a request
}

func newConnections(most int, proxies Proxies) *connections {
	return &connections{
		most: most, mostOfRemote: remoteConnections, rate: newRemotes(remoteRate, remoteBurst), proxies: proxies,
		open: map[net.Conn]*connection{}, byRemote: map[netip.Prefix]int{},
	}
}

// connectionLimit is how many connections this process may have.
func connectionLimit() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > maxConnections+filesForOthers {
		return maxConnections
	}
	return max(filesForOthers, int(files.Cur)-filesForOthers)
}

// changed is for [http.Server.ConnState].
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if tooMany := c.begin(conn); tooMany != nil {
			closeNow(tooMany)
		}
	case http.StateActive:
		c.mark(conn, false)
	case http.StateIdle:
		c.mark(conn, true)
	case http.StateClosed, http.StateHijacked:
		c.end(conn)
	}
}

// begin counts a connection, and returns one that has to go.
func (c *connections) begin(conn net.Conn) net.Conn {
	address := conn.RemoteAddr().String()
	remote, local := remoteOf(address)
	local = local || c.proxies.Trusts(address)
	allowed := local || c.rate.allow(address, time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = &connection{remote: remote, silent: c.silent.PushBack(conn)}
	c.byRemote[remote]++
	switch {
	case !allowed || !local && c.byRemote[remote] > c.mostOfRemote:
		c.closed++
		return conn
	case len(c.open) > c.most:
		c.closed++
		longest := c.silent.Front()
		c.open[longest.Value.(net.Conn)].silent = nil
		return c.silent.Remove(longest).(net.Conn)
	}
	return nil
}

func (c *connections) mark(conn net.Conn, silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.open[conn]
	switch {
	case !ok:
	case silent && one.silent == nil:
		one.silent = c.silent.PushBack(conn)
	case !silent && one.silent != nil:
		c.silent.Remove(one.silent)
		one.silent = nil
	}
}

func (c *connections) end(conn net.Conn) {
	c.mark(conn, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.open[conn]
	if !ok {
		return
	}
	delete(c.open, conn)
	if c.byRemote[one.remote]--; c.byRemote[one.remote] == 0 {
		delete(c.byRemote, one.remote)
	}
}

// closeNow says no goodbye: TLS would wait for whoever does not read.
func closeNow(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}
