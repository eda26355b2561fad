//go:build darwin || freebsd

package agent

import "golang.org/x/sys/unix"

// peerUser returns whose process is at the other end: unix(4), LOCAL_PEERCRED.
func peerUser(fd int) (int, error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(c.Uid), nil
}
