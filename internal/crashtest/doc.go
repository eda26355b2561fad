// Package crashtest hurts the real programs wherever they change the disk, and
// proves that running the same command again is all that it takes.
//
// The tests play two stories, with zeropass and zeropass-server as processes: that
// of one account from zeropass init to the epoch that follows a recovery, and that
// of an account whose devices are added, confirm for each other, are locked and
// revoked, and make new epochs. Each command is run again and again on a copy of
// everything, its device or the server hurt each time at another system call:
// killed before it, killed when half of a write has reached the disk, or told that
// the disk is full from there on. What other devices do meanwhile goes on. Then the
// command is given once more, and the account must be whole: nothing that was
// acknowledged is lost, nothing is there twice, nothing is half done.
//
// The tests take some system calls of every command; make campaign-commands takes all.
//
// Other tests are about the server alone, while accounts with real keys write to it
// at the same time: it is killed with SIGKILL, its power is cut (on a disk of
// [zeropass.dev/zeropass/internal/powerloss]), a sync fails, or the disk is full.
// Each account keeps what was acknowledged to it, and looks for all of it in the
// server's next life. make campaign-crash does that many thousand times.
package crashtest
