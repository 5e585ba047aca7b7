import socket
import struct

JOINED = 32 << 10
LENGTH = struct.Struct("<I")

sock = socket.socket(fileno=0)
while True:
    head = sock.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        break
    (length,) = LENGTH.unpack(head)
    body = sock.recv(length, socket.MSG_WAITALL) if length else b""
    while len(body) < length:
        part = sock.recv(length - len(body), socket.MSG_WAITALL)
        if not part:
            raise SystemExit
        body += part
    if length <= JOINED:
        sock.sendall(head + body)
    else:
        sock.sendall(head)
        sock.sendall(body)
