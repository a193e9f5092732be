"""The web export: the C engine in WebAssembly, a module, a page that chats."""
