"""A real RTSP server for the tests, GStreamer's, run by the system's own Python: it has the bindings, ours may not.

Started as a script: `rtsp_server.py PORT [USER PASSWORD basic|digest]`. Serves /h264 (where GStreamer has an encoder)
and /jpeg, 320 x 240 at 20 a second, each new client from the beginning, and says `ready` and which of them it has.
"""

import sys
from typing import Any

_TEST = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=20/1"
_DIGEST = 2  # GST_RTSP_AUTH_DIGEST of gstrtspdefs.h
_MOUNTS = {
    "/h264": ("x264enc", f"( {_TEST} ! x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 )"),
    "/jpeg": ("jpegenc", f"( {_TEST} ! jpegenc ! rtpjpegpay name=pay0 )"),
}


def main(port: str, *account: str) -> None:
    import gi  # type: ignore[import-not-found]  # of the system's Python

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]

    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if account:
        server.set_auth(_auth(GstRtspServer, *account))
    served = []
    for path, (encoder, launch) in _MOUNTS.items():
        if Gst.ElementFactory.find(encoder) is None:
            continue
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(launch)
        if account:
            permissions = GstRtspServer.RTSPPermissions.new()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
        served.append(path)
    if not server.attach(None):
        sys.exit("the port is taken")
    print("ready", *served, flush=True)
    GLib.MainLoop().run()


def _auth(library: Any, user: str, password: str, method: str) -> Any:
    auth = library.RTSPAuth.new()
    token = library.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    if method == "basic":
        auth.add_basic(library.RTSPAuth.make_basic(user, password), token)
    else:
        auth.set_supported_methods(_DIGEST)
        auth.add_digest(user, password, token)
    return auth


if __name__ == "__main__":
    main(*sys.argv[1:])
