package agent

import "golang.org/x/sys/unix"

// peerUser returns whose process is at the other end: unix(7), SO_PEERCRED.
func peerUser(fd int) (int, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(c.Uid), nil
}
